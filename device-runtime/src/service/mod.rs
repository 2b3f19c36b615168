//! A board's command loop.
//!
//! A firmware opens its serial port, its flash and its clock, then calls [`run`], which answers
//! requests (see [`protocol`](crate::protocol)) for as long as the link lasts. Models live in the
//! slots of a [`ModelFlash`] and are read in place:
//!
//! ```text
//!  slot    0  header, 32 bytes, written last: what makes the model valid
//!         32  erased
//!         64  the packed model
//! ```
//! A new model goes into the slot that is not in use. Writing its header is the moment at which it
//! replaces the old one: whenever the power fails, the board starts with the old model or with the
//! new one. A board with a single slot has no model while it receives a new one.
//!
//! What is left of a slot holds calibration records (see [`calibration`](crate::calibration)) of its
//! model. While a board calibrates, the sums of a pass lie in the arena behind what the model uses,
//! and new parameters are written to the flash layer by layer, to be read in place as those of the
//! model are.
//!
//! Until the first zero byte a board also answers the commands of the MLPerf Tiny benchmark, which
//! are text and end with `%`.

mod benchmark;
mod calibrate;
mod commands;
mod facts;
mod flash;
mod inference;
mod observer;
mod records;
mod sensor;
mod session;
mod slots;
#[cfg(test)]
mod tests;

use embedded_io::{Read, Write};

use crate::protocol::{
    FrameReader, MIN_FRAME_BYTES, Refusal, Request, TickUnit, chunk_bytes, encode,
};
use benchmark::Benchmark;
use commands::Commands;

pub use flash::ModelFlash;
pub use sensor::{Position, Sensor};
pub use slots::SLOT_HEADER_BYTES;

/// What a board says about itself.
#[derive(Debug, Clone, Copy)]
pub struct Description<'a> {
    /// Name, as in its `board.toml`.
    pub name: &'a str,
    /// Processor core.
    pub core: &'a str,
    /// What [`Platform::ticks`] counts.
    pub tick: TickUnit,
    /// Bytes reserved for the stack.
    pub stack_bytes: u32,
    /// Number of slots that the flash is divided into.
    pub slots: u8,
    /// Bytes that the link keeps while the board is busy, see
    /// [`HelloReply::ahead_bytes`](crate::protocol::HelloReply::ahead_bytes).
    pub ahead_bytes: u32,
}

/// What a board knows about itself while it runs.
pub trait Platform {
    /// Time since the start.
    fn ticks(&mut self) -> u64;
    /// How many of them make a second. What counts instructions is as fast as its processor.
    fn ticks_per_second(&self) -> u64;
    /// Called right before a measurement. A board whose clock is coarser than what it counts waits
    /// here until its clock has just advanced, so that equal work gives equal counts.
    fn begin_measurement(&mut self) {}
    /// Most bytes of stack that have been in use at once.
    fn stack_used(&self) -> u32;
    /// Whether a model may be used, asked before anything of it is. `file` has not been checked;
    /// `running` is the version of the model that was in use last, `None` when the board starts.
    /// A board that trusts some models only asks its
    /// [`Authority`](crate::signature::Authority) here.
    ///
    /// # Errors
    /// What the host is told.
    fn admit(&self, file: &[u8], running: Option<u32>) -> Result<(), Refusal<'static>> {
        let _ = (file, running);
        Ok(())
    }
    /// Its own source of inputs, if it has one.
    fn sensor(&mut self) -> Option<&mut dyn Sensor> {
        None
    }
}

/// Memory for frames of at most `FRAME` bytes.
#[derive(Debug)]
pub struct Buffers<const FRAME: usize> {
    receive: [u8; FRAME],
    plain: [u8; FRAME],
    send: [u8; FRAME],
}

impl<const FRAME: usize> Buffers<FRAME> {
    /// Empty buffers.
    #[must_use]
    pub const fn new() -> Self {
        const {
            assert!(
                FRAME >= MIN_FRAME_BYTES,
                "every message without data must fit"
            )
        };
        Self {
            receive: [0; FRAME],
            plain: [0; FRAME],
            send: [0; FRAME],
        }
    }
}

impl<const FRAME: usize> Default for Buffers<FRAME> {
    fn default() -> Self {
        Self::new()
    }
}

/// Everything that the command loop works with.
#[derive(Debug)]
pub struct Board<'a, L, F, P, const FRAME: usize> {
    /// What it is.
    pub description: Description<'a>,
    /// The serial port. Reading 0 bytes means that it is closed.
    pub link: L,
    /// Where models live.
    pub flash: F,
    /// The clock and the stack.
    pub platform: P,
    /// Memory for inference, starting at a multiple of
    /// [`TENSOR_ALIGNMENT`](crate::format::TENSOR_ALIGNMENT).
    pub arena: &'a mut [u8],
    /// Memory for checksums, 4 bytes per operation of the largest model, or for a part of a layer.
    pub results: &'a mut [u8],
    /// Memory for frames.
    pub buffers: &'a mut Buffers<FRAME>,
}

/// Answers requests until the link is closed.
///
/// # Errors
/// When the link fails.
pub fn run<L, F, P, const FRAME: usize>(board: Board<'_, L, F, P, FRAME>) -> Result<(), L::Error>
where
    L: Read + Write,
    F: ModelFlash,
    P: Platform,
{
    let mut link = board.link;
    let Buffers {
        receive,
        plain,
        send,
    } = board.buffers;
    let mut commands = Commands::new(
        board.description,
        board.platform,
        board.flash,
        board.arena,
        board.results,
        chunk_bytes(FRAME),
    );
    let mut benchmark = Benchmark::new();
    let mut reader = FrameReader::new(receive);
    let mut last: Option<u16> = None;
    let mut reply_length = 0;
    let mut bytes = [0; 64];
    loop {
        let count = link.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        for &byte in bytes.iter().take(count) {
            benchmark.push(byte, &mut commands, &mut link)?;
            let Some(Ok(frame)) = reader.push(byte) else {
                continue;
            };
            let request = decode(frame.message);
            let hello = matches!(request, Some(Request::Hello { .. }));
            if !hello && last.is_some_and(|last| is_before(frame.sequence, last)) {
                continue;
            }
            if hello || last != Some(frame.sequence) {
                let reply = commands.handle(request);
                // Buffers of this size hold every message, so that encoding cannot fail.
                reply_length = encode(frame.sequence, &reply, plain, send).unwrap_or(0);
                last = Some(frame.sequence);
            }
            // The zero byte in front ends what may be left of a damaged reply.
            link.write_all(&[0])?;
            link.write_all(send.get(..reply_length).unwrap_or_default())?;
            link.flush()?;
        }
    }
}

/// Whether a sequence number is one of those before `last`, which have been answered: the request
/// came twice.
fn is_before(sequence: u16, last: u16) -> bool {
    const HALF: u16 = 1 << 15;
    (1..HALF).contains(&last.wrapping_sub(sequence))
}

/// The request, if the message is nothing but one that this version knows.
fn decode(message: &[u8]) -> Option<Request<'_>> {
    let (request, rest) = postcard::take_from_bytes(message).ok()?;
    rest.is_empty().then_some(request)
}
