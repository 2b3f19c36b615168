//! The calibration record: new parameters of some layers, beside the immutable model.
//!
//! ```text
//!   0  64  header, see [`Header`]
//!  64  32  commit word: all ones until the record is complete
//!  96  32  revoke word: all ones until the record is taken back
//! 128      payload: per layer
//!            0  2  operation, u16
//!            2  2  channels, u16
//!            4     channels x { multiplier i32, bias i64 }
//!                  ones up to a multiple of 32 bytes
//! ```
//! Numbers are little-endian. Payload is written first, then the header, then the commit word, so
//! that a power failure leaves either no record or the whole one. Each of the words has a write
//! unit of its own, as flash can be written only once between two erasures; so has every layer,
//! which a board writes as soon as its pass is over.

use crate::format::CHECKSUM;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 64;
/// Bytes set aside for the commit word and for the revoke word: the widest unit that a flash
/// writes.
pub const WRITE_UNIT: usize = 32;
/// Where the commit word lies.
pub const COMMIT_OFFSET: usize = HEADER_BYTES;
/// Where the revoke word lies.
pub const REVOKE_OFFSET: usize = COMMIT_OFFSET + WRITE_UNIT;
/// Where the payload starts.
pub const PAYLOAD_OFFSET: usize = REVOKE_OFFSET + WRITE_UNIT;
/// Bytes of the parameters of one channel.
pub const PARAMETER_BYTES: usize = 12;

const MAGIC: [u8; 4] = *b"LBC1";
const FORMAT: u16 = 2;
pub(super) const LAYER_HEADER_BYTES: usize = 4;
pub(super) const ERASED: u8 = 0xff;

/// What a record says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Higher than that of every earlier record on the board.
    pub generation: u32,
    /// First half of the SHA-256 of the model that the record belongs to.
    pub model: [u8; 16],
    /// CRC-32 of the model's calibration plan.
    pub plan: u32,
    /// Images that statistics were collected from.
    pub images: u32,
    /// Images that the statistics of the training data counted as.
    pub prior: u32,
    /// Layers that have new parameters.
    pub layers: u16,
    /// Channels that were not followed all the way, in thousandths of all.
    pub clamped_permille: u16,
    /// The acceptance metric before.
    pub before: u32,
    /// The acceptance metric with the record.
    pub after: u32,
    /// Whether the metric is the share of correct answers in thousandths, and not the mean margin.
    pub labelled: bool,
    /// Bytes of the payload.
    pub payload_length: u32,
    /// CRC-32 of the payload.
    pub payload_checksum: u32,
}

/// Why a slot holds no usable record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// There is nothing that looks like a record.
    #[error("there is no record")]
    Absent,
    /// The header was damaged.
    #[error("the header's checksum is {stated:#010x}, its bytes have {computed:#010x}")]
    Header {
        /// As written.
        stated: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// A record of another version.
    #[error("format {found} is not known, only {FORMAT}")]
    Format {
        /// Version of the record.
        found: u16,
    },
    /// The writing was cut off.
    #[error("the record was never completed")]
    Uncommitted,
    /// It was taken back.
    #[error("the record was revoked")]
    Revoked,
    /// It belongs to another model.
    #[error("the record belongs to another model")]
    Model,
    /// It was made by another plan.
    #[error("the record was made by the plan {found:#010x}, the model has {expected:#010x}")]
    Plan {
        /// As written.
        found: u32,
        /// The model's.
        expected: u32,
    },
    /// The payload does not fit its slot.
    #[error("the payload has {stated} bytes, {available} are there")]
    Length {
        /// As written.
        stated: u32,
        /// Bytes in the slot.
        available: usize,
    },
    /// The payload was damaged.
    #[error("the payload's checksum is {stated:#010x}, its bytes have {computed:#010x}")]
    Payload {
        /// As written.
        stated: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// A layer that the model's plan does not have, or not with as many channels.
    #[error("operation {operation} cannot be calibrated so")]
    NotInPlan {
        /// Number of the operation.
        operation: u16,
    },
    /// A multiplier or bias that an inference could not compute with.
    #[error("the parameters of operation {operation}, channel {channel} are too large")]
    Parameters {
        /// Number of the operation.
        operation: u16,
        /// Output channel.
        channel: u16,
    },
    /// The layers of the payload do not add up to its length.
    #[error("layer {layer} of the payload does not end where it should")]
    Layer {
        /// Counted from 0.
        layer: u16,
    },
}

impl Header {
    /// The header as it lies in flash.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let [model_0, model_1, model_2, model_3] = words(&self.model);
        let flags = u16::from(self.labelled);
        let fields: [[u8; 4]; 15] = [
            MAGIC,
            pair(FORMAT, flags),
            self.generation.to_le_bytes(),
            model_0,
            model_1,
            model_2,
            model_3,
            self.plan.to_le_bytes(),
            self.images.to_le_bytes(),
            self.prior.to_le_bytes(),
            pair(self.layers, self.clamped_permille),
            self.before.to_le_bytes(),
            self.after.to_le_bytes(),
            self.payload_length.to_le_bytes(),
            self.payload_checksum.to_le_bytes(),
        ];
        let content = fields.as_flattened();
        let mut bytes = [0; HEADER_BYTES];
        let checksum = CHECKSUM.checksum(content).to_le_bytes();
        let all = content.iter().chain(&checksum);
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// Reads what [`encode`](Self::encode) gave.
    ///
    /// # Errors
    /// If the bytes are no header, damaged, or of another version.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let bytes = bytes
            .first_chunk::<HEADER_BYTES>()
            .ok_or(RecordError::Absent)?;
        let (words, _) = bytes.as_chunks::<4>();
        let &[
            magic,
            version,
            generation,
            model_0,
            model_1,
            model_2,
            model_3,
            plan,
            images,
            prior,
            layers,
            before,
            after,
            payload_length,
            payload_checksum,
            checksum,
        ] = words
        else {
            return Err(RecordError::Absent);
        };
        if magic != MAGIC {
            return Err(RecordError::Absent);
        }
        let stated = u32::from_le_bytes(checksum);
        let computed = CHECKSUM.checksum(bytes.get(..HEADER_BYTES - 4).unwrap_or_default());
        // A fuzzer would never get past it, hence the exception.
        if stated != computed && !cfg!(fuzzing) {
            return Err(RecordError::Header { stated, computed });
        }
        let (found, flags) = halves(version);
        if found != FORMAT {
            return Err(RecordError::Format { found });
        }
        let (layers, clamped_permille) = halves(layers);
        let mut model = [0; 16];
        let identity = [model_0, model_1, model_2, model_3];
        let places = model.iter_mut().zip(identity.as_flattened());
        places.for_each(|(to, from)| *to = *from);
        Ok(Self {
            generation: u32::from_le_bytes(generation),
            model,
            plan: u32::from_le_bytes(plan),
            images: u32::from_le_bytes(images),
            prior: u32::from_le_bytes(prior),
            layers,
            clamped_permille,
            before: u32::from_le_bytes(before),
            after: u32::from_le_bytes(after),
            labelled: flags & 1 == 1,
            payload_length: u32::from_le_bytes(payload_length),
            payload_checksum: u32::from_le_bytes(payload_checksum),
        })
    }
}

fn words(bytes: &[u8; 16]) -> [[u8; 4]; 4] {
    let (words, _) = bytes.as_chunks::<4>();
    words.try_into().unwrap_or_default()
}

fn pair(low: u16, high: u16) -> [u8; 4] {
    (u32::from(low) | u32::from(high) << 16).to_le_bytes()
}

fn halves(word: [u8; 4]) -> (u16, u16) {
    let word = u32::from_le_bytes(word);
    (word as u16, (word >> 16) as u16)
}

/// A record that is complete, undamaged and made for the model at hand.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    header: Header,
    payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// Checks the record in `slot` against the model's identity and the checksum of its plan.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn new_checked(
        slot: &'a [u8],
        identity: &[u8; 32],
        plan: u32,
    ) -> Result<Self, RecordError> {
        let header = Header::parse(slot)?;
        if is_erased(slot, COMMIT_OFFSET) {
            return Err(RecordError::Uncommitted);
        }
        if !is_erased(slot, REVOKE_OFFSET) {
            return Err(RecordError::Revoked);
        }
        if !identity.starts_with(&header.model) {
            return Err(RecordError::Model);
        }
        if header.plan != plan {
            return Err(RecordError::Plan {
                found: header.plan,
                expected: plan,
            });
        }
        let room = slot.get(PAYLOAD_OFFSET..).unwrap_or_default();
        let stated = header.payload_length;
        let payload = room.get(..stated as usize).ok_or(RecordError::Length {
            stated,
            available: room.len(),
        })?;
        let computed = CHECKSUM.checksum(payload);
        if computed != header.payload_checksum && !cfg!(fuzzing) {
            return Err(RecordError::Payload {
                stated: header.payload_checksum,
                computed,
            });
        }
        let mut layers = Payload { rest: payload };
        for layer in 0..header.layers {
            layers.next().ok_or(RecordError::Layer { layer })?;
        }
        if !layers.rest.is_empty() {
            return Err(RecordError::Layer {
                layer: header.layers,
            });
        }
        Ok(Self { header, payload })
    }

    /// What it says about itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The layers as they lie in flash.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The layers that have new parameters.
    #[must_use]
    pub fn layers(&self) -> Payload<'a> {
        Payload { rest: self.payload }
    }
}

/// Whether nothing has been written into the unit at `offset`; what lies behind the slot is.
fn is_erased(slot: &[u8], offset: usize) -> bool {
    let unit = slot.get(offset..).and_then(|rest| rest.get(..WRITE_UNIT));
    unit.unwrap_or_default().iter().all(|byte| *byte == ERASED)
}

/// The layers of a payload, one after the other.
#[derive(Debug, Clone)]
pub struct Payload<'a> {
    rest: &'a [u8],
}

impl<'a> Payload<'a> {
    /// The layers in `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What follows the layers so far; of a sound payload nothing follows the last.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// Bytes of a layer of a payload.
pub(super) fn layer_bytes(channels: u16) -> usize {
    let content = LAYER_HEADER_BYTES + usize::from(channels) * PARAMETER_BYTES;
    content.next_multiple_of(WRITE_UNIT)
}

/// New parameters of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer<'a> {
    /// Number of the operation.
    pub operation: u16,
    /// Per channel a multiplier (`i32`) and a bias (`i64`), [`PARAMETER_BYTES`] in all.
    pub parameters: &'a [u8],
}

impl<'a> Iterator for Payload<'a> {
    type Item = Layer<'a>;

    fn next(&mut self) -> Option<Layer<'a>> {
        let (operation, channels) = halves(*self.rest.first_chunk()?);
        let (layer, rest) = self.rest.split_at_checked(layer_bytes(channels))?;
        let parameters = usize::from(channels) * PARAMETER_BYTES;
        let parameters = layer.get(LAYER_HEADER_BYTES..)?.get(..parameters)?;
        self.rest = rest;
        Some(Layer {
            operation,
            parameters,
        })
    }
}

impl Layer<'_> {
    /// Number of channels.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.parameters.len() / PARAMETER_BYTES
    }

    /// Multiplier and bias of a channel; `None` behind the last.
    #[must_use]
    pub fn get(&self, channel: usize) -> Option<(i32, i64)> {
        let rest = self
            .parameters
            .get(channel.checked_mul(PARAMETER_BYTES)?..)?;
        let (multiplier, rest) = rest.split_first_chunk()?;
        let bias = rest.first_chunk()?;
        Some((i32::from_le_bytes(*multiplier), i64::from_le_bytes(*bias)))
    }

    /// The head of a layer in a payload.
    #[must_use]
    pub(super) fn head(operation: u16, channels: u16) -> [u8; LAYER_HEADER_BYTES] {
        pair(operation, channels)
    }

    /// The parameters of a channel in a payload.
    pub(super) fn channel(multiplier: i32, bias: i64) -> [u8; PARAMETER_BYTES] {
        let mut bytes = [0; PARAMETER_BYTES];
        let (first, second) = (multiplier.to_le_bytes(), bias.to_le_bytes());
        let content = first.iter().chain(&second);
        bytes
            .iter_mut()
            .zip(content)
            .for_each(|(to, from)| *to = *from);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use proptest::prelude::*;

    const IDENTITY: [u8; 32] = [7; 32];
    const PLAN: u32 = 0x1234_5678;

    fn payload() -> Vec<u8> {
        let mut payload = Vec::new();
        for (operation, channels) in [(1u16, 3u16), (9, 2)] {
            payload.extend(Layer::head(operation, channels));
            for channel in 0..i32::from(channels) {
                payload.extend(Layer::channel(-channel - 1, i64::from(channel) << 40));
            }
            payload.resize(payload.len().next_multiple_of(WRITE_UNIT), ERASED);
        }
        payload
    }

    fn header(payload: &[u8]) -> Header {
        Header {
            generation: 5,
            model: [7; 16],
            plan: PLAN,
            images: 128,
            prior: 64,
            layers: 2,
            clamped_permille: 12,
            before: 600,
            after: 700,
            labelled: true,
            payload_length: payload.len() as u32,
            payload_checksum: CHECKSUM.checksum(payload),
        }
    }

    fn slot() -> Vec<u8> {
        let payload = payload();
        let mut slot = vec![ERASED; 400];
        slot[..HEADER_BYTES].copy_from_slice(&header(&payload).encode());
        slot[COMMIT_OFFSET..][..4].copy_from_slice(&[0; 4]);
        slot[PAYLOAD_OFFSET..][..payload.len()].copy_from_slice(&payload);
        slot
    }

    fn open(slot: &[u8]) -> Result<Header, RecordError> {
        Record::new_checked(slot, &IDENTITY, PLAN).map(|record| *record.header())
    }

    #[test]
    fn what_was_written_is_read() {
        let slot = slot();
        let record = Record::new_checked(&slot, &IDENTITY, PLAN).unwrap();
        assert_eq!(*record.header(), header(&payload()));
        let layers: Vec<_> = record.layers().collect();
        assert_eq!([layers[0].operation, layers[1].operation], [1, 9]);
        assert_eq!(layers[0].get(2), Some((-3, 2 << 40)));
        assert_eq!(
            (layers[1].get(1), layers[1].get(2)),
            (Some((-2, 1 << 40)), None)
        );
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert_eq!(open(&[]), Err(RecordError::Absent));
        assert_eq!(open(&[ERASED; 400]), Err(RecordError::Absent));
        let mut uncommitted = slot();
        uncommitted[COMMIT_OFFSET..][..4].fill(ERASED);
        assert_eq!(open(&uncommitted), Err(RecordError::Uncommitted));
        let mut revoked = slot();
        revoked[REVOKE_OFFSET] = 0;
        assert_eq!(open(&revoked), Err(RecordError::Revoked));
        let slot = slot();
        let other = Record::new_checked(&slot, &[8; 32], PLAN).map(|_| ());
        assert_eq!(other, Err(RecordError::Model));
        let other = Record::new_checked(&slot, &IDENTITY, 1).map(|_| ());
        assert_eq!(
            other,
            Err(RecordError::Plan {
                found: PLAN,
                expected: 1
            })
        );
        let cut = open(&slot[..PAYLOAD_OFFSET + 10]);
        assert!(matches!(
            cut,
            Err(RecordError::Length { available: 10, .. })
        ));
    }

    /// Layers that reach behind the payload or leave a part of it.
    #[test]
    fn layers_must_fill_the_payload() {
        for (layers, wrong) in [(1, 1), (3, 2)] {
            let (payload, mut slot) = (payload(), slot());
            let header = Header {
                layers,
                ..header(&payload)
            };
            slot[..HEADER_BYTES].copy_from_slice(&header.encode());
            assert_eq!(open(&slot), Err(RecordError::Layer { layer: wrong }));
        }
    }

    #[test]
    fn every_flipped_bit_of_the_content_is_found() {
        let whole = slot();
        let end = PAYLOAD_OFFSET + payload().len();
        for place in (0..HEADER_BYTES).chain(PAYLOAD_OFFSET..end) {
            for bit in 0..8 {
                let mut slot = whole.clone();
                slot[place] ^= 1 << bit;
                assert!(open(&slot).is_err(), "byte {place}, bit {bit}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Record::new_checked(&bytes, &IDENTITY, PLAN);
            let payload = Payload { rest: &bytes };
            prop_assert!(payload.count() <= bytes.len() / 4);
        }
    }
}
