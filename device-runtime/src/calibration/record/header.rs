//! What a record says about itself.

use super::{FORMAT, HEADER_BYTES, RecordError};
use crate::format::CHECKSUM;

const MAGIC: [u8; 4] = *b"LBC1";

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

pub(super) fn pair(low: u16, high: u16) -> [u8; 4] {
    (u32::from(low) | u32::from(high) << 16).to_le_bytes()
}

pub(super) fn halves(word: [u8; 4]) -> (u16, u16) {
    let word = u32::from_le_bytes(word);
    (word as u16, (word >> 16) as u16)
}
