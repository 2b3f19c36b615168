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

mod header;
mod payload;
#[cfg(test)]
mod tests;

pub use header::Header;
pub(super) use payload::{LAYER_HEADER_BYTES, layer_bytes};
pub use payload::{Layer, Payload};

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

const FORMAT: u16 = 2;
pub(super) const ERASED: u8 = 0xff;

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
        let mut layers = Payload::new(payload);
        for layer in 0..header.layers {
            layers.next().ok_or(RecordError::Layer { layer })?;
        }
        if !layers.rest().is_empty() {
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
        Payload::new(self.payload)
    }
}

/// Whether nothing has been written into the unit at `offset`; what lies behind the slot is.
fn is_erased(slot: &[u8], offset: usize) -> bool {
    let unit = slot.get(offset..).and_then(|rest| rest.get(..WRITE_UNIT));
    unit.unwrap_or_default().iter().all(|byte| *byte == ERASED)
}
