//! Where calibration records lie, beside the model that they belong to.
//!
//! Behind a model in its slot, in blocks of their own, there are two or three places for records:
//! one for the record in use, one for the next, and where there is room one for the record before,
//! so that a calibration that is not accepted leaves both. The record with the highest generation
//! among those that are whole, committed and not revoked is in use; without one it is the factory's
//! parameters. A model that is written anew starts without records.

use core::ops::Range;

use crate::calibration::{
    COMMIT_OFFSET, Corrections, HEADER_BYTES, Header, PAYLOAD_OFFSET, Passes, Plan, REVOKE_OFFSET,
    Record, RecordError, WRITE_UNIT,
};
use crate::format::Model;
use crate::protocol::Refusal;

use super::flash::{self, ModelFlash};

/// Fewer places are of no use.
const LEAST: usize = 2;
const MOST: usize = 3;
/// What makes a record valid, and what takes it back.
const WRITTEN: [u8; WRITE_UNIT] = [0; WRITE_UNIT];

/// The places for records of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Records {
    start: usize,
    /// Bytes of a place.
    bytes: usize,
    count: u8,
}

/// The record in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ActiveRecord {
    pub(super) place: u8,
    pub(super) generation: u32,
    payload: u32,
}

impl Records {
    /// As many places for records of all layers that `model` can be calibrated by as there are in
    /// `room`, whole blocks of `block` bytes; `None` if it cannot be calibrated.
    pub(super) fn of(model: &Model<'_>, room: &Range<usize>, block: usize) -> Option<Self> {
        let plan = Plan::of(model)?;
        let bytes = PAYLOAD_OFFSET + plan.payload_bytes(Passes::Exact);
        let bytes = bytes.next_multiple_of(block);
        let fitting = room.len().checked_div(bytes).unwrap_or_default();
        Some(Self {
            start: room.start,
            bytes,
            count: fitting.min(MOST) as u8,
        })
    }

    /// Number of places.
    pub(super) fn count(&self) -> u8 {
        self.count
    }

    /// Whether a record can be written and the one in use be kept meanwhile.
    pub(super) fn check_room(&self, room: &Range<usize>) -> Result<(), Refusal<'static>> {
        if usize::from(self.count) >= LEAST {
            return Ok(());
        }
        Err(Refusal::RecordRoom {
            needed: (LEAST * self.bytes) as u32,
            available: room.len() as u32,
        })
    }

    fn offset(&self, place: u8) -> usize {
        self.start + usize::from(place) * self.bytes
    }

    /// All bytes of a place.
    pub(super) fn bytes<'f>(&self, memory: &'f [u8], place: u8) -> &'f [u8] {
        let rest = memory.get(self.offset(place)..);
        rest.and_then(|rest| rest.get(..self.bytes))
            .unwrap_or_default()
    }

    /// The record of `model` in a place, if it may be used.
    pub(super) fn read<'f>(
        &self,
        memory: &'f [u8],
        model: &Model<'_>,
        place: u8,
    ) -> Result<Record<'f>, RecordError> {
        let plan = Plan::of(model).ok_or(RecordError::Absent)?;
        let bytes = self.bytes(memory, place);
        let record = Record::new_checked(bytes, model.identity(), plan.checksum())?;
        Corrections::new_checked(&plan, record.payload())?;
        Ok(record)
    }

    /// The record to use; `None` if it is to be the factory's parameters.
    pub(super) fn newest(&self, memory: &[u8], model: &Model<'_>) -> Option<ActiveRecord> {
        let records = (0..self.count).filter_map(|place| {
            let record = self.read(memory, model, place).ok()?;
            Some(ActiveRecord {
                place,
                generation: record.header().generation,
                payload: record.header().payload_length,
            })
        });
        records.max_by_key(|record| record.generation)
    }

    /// The first `length` bytes of the layers in a place.
    pub(super) fn payload<'f>(&self, memory: &'f [u8], place: u8, length: u32) -> &'f [u8] {
        let rest = self.bytes(memory, place).get(PAYLOAD_OFFSET..);
        rest.and_then(|rest| rest.get(..length as usize))
            .unwrap_or_default()
    }

    /// The layers of the record in use.
    pub(super) fn active_payload<'f>(&self, memory: &'f [u8], active: ActiveRecord) -> &'f [u8] {
        self.payload(memory, active.place, active.payload)
    }

    /// The place for the next record: one without a record that may be used, else that of the
    /// oldest.
    pub(super) fn spare(&self, memory: &[u8], model: &Model<'_>) -> u8 {
        let rank = |place: &u8| {
            let record = self.read(memory, model, *place).ok();
            record.map(|record| record.header().generation)
        };
        (0..self.count).min_by_key(rank).unwrap_or_default()
    }

    /// The generation of the next record: above all that there are traces of.
    pub(super) fn next_generation(&self, memory: &[u8]) -> Result<u32, Refusal<'static>> {
        let headers = (0..self.count).filter_map(|place| {
            let header = Header::parse(self.bytes(memory, place)).ok()?;
            Some(header.generation)
        });
        let newest = headers.max().unwrap_or_default();
        newest.checked_add(1).ok_or(Refusal::Generations)
    }

    /// Erases a place.
    pub(super) fn erase<F: ModelFlash>(
        &self,
        flash: &mut F,
        place: u8,
    ) -> Result<(), Refusal<'static>> {
        let start = self.offset(place);
        flash::erase(flash, start, start + self.bytes)
    }

    /// Writes layers behind the first `written` bytes of them into a place that was erased.
    pub(super) fn write<F: ModelFlash>(
        &self,
        flash: &mut F,
        place: u8,
        written: u32,
        layers: &[u8],
    ) -> Result<(), Refusal<'static>> {
        let to = self.offset(place) + PAYLOAD_OFFSET + written as usize;
        flash::write(flash, to, layers)
    }

    /// Makes the layers in a place a record.
    pub(super) fn commit<F: ModelFlash>(
        &self,
        flash: &mut F,
        place: u8,
        header: &[u8; HEADER_BYTES],
    ) -> Result<(), Refusal<'static>> {
        let start = self.offset(place);
        flash::write(flash, start, header)?;
        flash::write(flash, start + COMMIT_OFFSET, &WRITTEN)
    }

    /// Takes the record in a place back.
    pub(super) fn revoke<F: ModelFlash>(
        &self,
        flash: &mut F,
        place: u8,
    ) -> Result<(), Refusal<'static>> {
        flash::write(flash, self.offset(place) + REVOKE_OFFSET, &WRITTEN)
    }

    /// Erases all places, the one in use last, so that no other record comes into use.
    pub(super) fn reset<F: ModelFlash>(
        &self,
        flash: &mut F,
        active: Option<ActiveRecord>,
    ) -> Result<(), Refusal<'static>> {
        let newest = active.map(|active| active.place);
        let others = (0..self.count).filter(|place| Some(*place) != newest);
        for place in others.chain(newest) {
            self.clear(flash, place)?;
        }
        Ok(())
    }

    fn clear<F: ModelFlash>(&self, flash: &mut F, place: u8) -> Result<(), Refusal<'static>> {
        const ERASED: u8 = 0xff;
        let bytes = self.bytes(flash.memory(), place);
        if bytes.iter().all(|byte| *byte == ERASED) {
            return Ok(());
        }
        self.erase(flash, place)
    }
}
