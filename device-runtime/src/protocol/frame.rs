//! Frames: sequence number, message and checksum in COBS.

use crc::{CRC_32_ISO_HDLC, Crc};
use serde::Serialize;

/// Bytes of the buffers of an ordinary board and of the host: room for 1 KiB of data.
pub const FRAME_BYTES: usize = 1088;
/// Bytes of the smallest buffers that hold every message without data.
pub const MIN_FRAME_BYTES: usize = 384;

const SEQUENCE_BYTES: usize = 2;
const CHECKSUM_BYTES: usize = 4;
/// Most bytes that a message has beside its data.
const MESSAGE_OVERHEAD: usize = 24;
/// Data comes in multiples of this, so that parts suit every flash and element type.
const CHUNK_ALIGNMENT: usize = 64;

const CHECKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Bytes of data in one message, for buffers of `frame_bytes` bytes.
#[must_use]
pub const fn chunk_bytes(frame_bytes: usize) -> usize {
    let stuffing = cobs::max_encoding_overhead(frame_bytes) + 1;
    let overhead = stuffing + SEQUENCE_BYTES + CHECKSUM_BYTES + MESSAGE_OVERHEAD;
    frame_bytes.saturating_sub(overhead) / CHUNK_ALIGNMENT * CHUNK_ALIGNMENT
}

/// A message does not fit into the buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message does not fit into a frame of {capacity} bytes")]
pub struct EncodeError {
    /// Bytes of the smaller buffer.
    pub capacity: usize,
}

/// Writes one frame with its closing zero byte to `frame` and returns its length. `plain` is
/// overwritten.
///
/// # Errors
/// If a buffer is too small for the message.
pub fn encode(
    sequence: u16,
    message: &impl Serialize,
    plain: &mut [u8],
    frame: &mut [u8],
) -> Result<usize, EncodeError> {
    let error = EncodeError {
        capacity: plain.len().min(frame.len()),
    };
    let length = encode_plain(sequence, message, plain).ok_or(error)?;
    let plain = plain.get(..length).ok_or(error)?;
    let (last, stuffed) = frame.split_last_mut().ok_or(error)?;
    let length = cobs::try_encode(plain, stuffed).map_err(|_| error)?;
    match stuffed.get_mut(length) {
        Some(end) => *end = 0,
        None => *last = 0,
    }
    Ok(length + 1)
}

/// Sequence number, message and checksum without stuffing; `None` if they do not fit.
fn encode_plain(sequence: u16, message: &impl Serialize, plain: &mut [u8]) -> Option<usize> {
    let (head, rest) = plain.split_first_chunk_mut::<SEQUENCE_BYTES>()?;
    *head = sequence.to_le_bytes();
    let end = SEQUENCE_BYTES + postcard::to_slice(message, rest).ok()?.len();
    let (content, rest) = plain.split_at_mut(end);
    *rest.first_chunk_mut()? = CHECKSUM.checksum(content).to_le_bytes();
    Some(end + CHECKSUM_BYTES)
}

/// A frame that arrived whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its sequence number.
    pub sequence: u16,
    /// The encoded message.
    pub message: &'a [u8],
}

/// Why a frame is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than the receiver's buffer.
    #[error("frame longer than {max} bytes")]
    TooLong {
        /// Bytes of the buffer.
        max: usize,
    },
    /// Not a COBS encoding.
    #[error("frame is not COBS encoded")]
    Stuffing,
    /// Too short for a sequence number and a checksum.
    #[error("frame of {length} bytes is too short")]
    TooShort {
        /// Bytes found.
        length: usize,
    },
    /// Some byte has changed.
    #[error("frame has the checksum {computed:#010x}, states {stated:#010x}")]
    Checksum {
        /// In the frame.
        stated: u32,
        /// Of its bytes.
        computed: u32,
    },
}

/// Finds frames in a stream of bytes.
///
/// After any fault it is in step again with the next zero byte.
#[derive(Debug)]
pub struct FrameReader<'b> {
    buffer: &'b mut [u8],
    length: usize,
    too_long: bool,
}

impl<'b> FrameReader<'b> {
    /// Collects frames in `buffer`, whose length is that of the longest frame without its zero byte.
    #[must_use]
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self {
            buffer,
            length: 0,
            too_long: false,
        }
    }

    /// Takes the next byte; returns a frame, or what is wrong with it, when the byte ends one.
    pub fn push(&mut self, byte: u8) -> Option<Result<Frame<'_>, FrameError>> {
        if byte != 0 {
            match self.buffer.get_mut(self.length) {
                Some(place) => {
                    *place = byte;
                    self.length += 1;
                }
                None => self.too_long = true,
            }
            return None;
        }
        let length = core::mem::take(&mut self.length);
        if core::mem::take(&mut self.too_long) {
            let max = self.buffer.len();
            return Some(Err(FrameError::TooLong { max }));
        }
        let stuffed = self.buffer.get_mut(..length)?;
        (!stuffed.is_empty()).then(|| decode(stuffed))
    }
}

fn decode(stuffed: &mut [u8]) -> Result<Frame<'_>, FrameError> {
    let length = cobs::decode_in_place(stuffed).map_err(|_| FrameError::Stuffing)?;
    let plain = stuffed.get(..length).ok_or(FrameError::Stuffing)?;
    let (content, stated) = plain
        .split_last_chunk::<CHECKSUM_BYTES>()
        .ok_or(FrameError::TooShort { length })?;
    let (sequence, message) = content
        .split_first_chunk::<SEQUENCE_BYTES>()
        .ok_or(FrameError::TooShort { length })?;
    let stated = u32::from_le_bytes(*stated);
    let computed = CHECKSUM.checksum(content);
    // A fuzzer would never get past it, hence the exception.
    if stated != computed && !cfg!(fuzzing) {
        return Err(FrameError::Checksum { stated, computed });
    }
    let sequence = u16::from_le_bytes(*sequence);
    Ok(Frame { sequence, message })
}
