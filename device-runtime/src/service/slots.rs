//! The slots that models live in.

use core::ops::Range;

use crate::format::{CHECKSUM, Model};
use crate::protocol::Refusal;

use super::flash::{self, ModelFlash};
use super::records::Records;

/// Bytes of a slot before its model.
pub const SLOT_HEADER_BYTES: usize = 64;
const MAGIC: [u8; 4] = *b"LBS1";
const WRITTEN_HEADER_BYTES: usize = 32;

/// What makes a slot valid.
///
/// ```text
///   0  4  magic "LBS1"
///   4  4  generation, u32
///   8  4  length of the model, u32
///  12 16  0
///  28  4  CRC-32 (ISO-HDLC) of the bytes before
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SlotHeader {
    generation: u32,
    length: u32,
}

impl SlotHeader {
    fn encode(self) -> [u8; WRITTEN_HEADER_BYTES] {
        let mut bytes = [0; WRITTEN_HEADER_BYTES];
        let fields = [
            MAGIC,
            self.generation.to_le_bytes(),
            self.length.to_le_bytes(),
        ];
        let (content, checksum) = bytes.split_at_mut(WRITTEN_HEADER_BYTES - 4);
        let places = content.iter_mut().zip(fields.as_flattened());
        places.for_each(|(to, from)| *to = *from);
        checksum.copy_from_slice(&CHECKSUM.checksum(content).to_le_bytes());
        bytes
    }

    fn parse(slot: &[u8]) -> Option<Self> {
        let bytes = slot.first_chunk::<WRITTEN_HEADER_BYTES>()?;
        let word = |at: usize| bytes.get(at..)?.first_chunk().copied();
        let header = Self {
            generation: u32::from_le_bytes(word(4)?),
            length: u32::from_le_bytes(word(8)?),
        };
        (header.encode() == *bytes).then_some(header)
    }
}

/// A model that is being received.
#[derive(Debug, Clone, Copy)]
struct Writing {
    slot: u8,
    length: u32,
    checksum: u32,
    written: u32,
}

/// The model in use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Active {
    pub(super) slot: u8,
    pub(super) generation: u32,
    length: u32,
}

/// A flash divided into equal slots.
#[derive(Debug)]
pub(super) struct Slots<F> {
    flash: F,
    count: u8,
    active: Option<Active>,
    writing: Option<Writing>,
}

impl<F: ModelFlash> Slots<F> {
    /// Finds the newest model that `accept` accepts.
    pub(super) fn new(flash: F, count: u8, mut accept: impl FnMut(&[u8]) -> bool) -> Self {
        let mut slots = Self {
            flash,
            count,
            active: None,
            writing: None,
        };
        let mut older_than = None;
        while let Some(active) = slots.newest(older_than) {
            if accept(slots.content(active.slot, active.length)) {
                slots.active = Some(active);
                break;
            }
            older_than = Some(active.generation);
        }
        slots
    }

    /// Bytes of the largest model.
    pub(super) fn capacity(&self) -> usize {
        self.slot_bytes().saturating_sub(SLOT_HEADER_BYTES)
    }

    pub(super) fn active(&self) -> Option<Active> {
        self.active
    }

    /// The model in use, nothing without one.
    pub(super) fn active_bytes(&self) -> &[u8] {
        let content = |active: Active| self.content(active.slot, active.length);
        self.active.map(content).unwrap_or_default()
    }

    /// What nothing has been written to behind a model in `slot`: whole blocks of the flash.
    fn behind(&self, slot: u8, length: u32) -> Range<usize> {
        let start = self.start(slot);
        let end = start + SLOT_HEADER_BYTES + length as usize;
        end.next_multiple_of(F::ERASE_SIZE)..start + self.slot_bytes()
    }

    /// The whole blocks behind the model in use, nothing without one.
    pub(super) fn behind_active(&self) -> Range<usize> {
        let behind = |active: Active| self.behind(active.slot, active.length);
        self.active.map(behind).unwrap_or_default()
    }

    /// All bytes of the flash.
    pub(super) fn memory(&self) -> &[u8] {
        self.flash.memory()
    }

    /// For what lies behind the model in use.
    pub(super) fn flash_mut(&mut self) -> &mut F {
        &mut self.flash
    }

    /// Erases room for a model.
    pub(super) fn begin(&mut self, length: u32, checksum: u32) -> Result<(), Refusal<'static>> {
        let capacity = self.capacity();
        if length as usize > capacity {
            return Err(Refusal::ModelTooLarge {
                length,
                capacity: capacity as u32,
            });
        }
        let slot = self.free_slot();
        if self.active.is_some_and(|active| active.slot == slot) {
            self.active = None;
        }
        self.writing = None;
        let start = self.start(slot);
        let end = start + SLOT_HEADER_BYTES + length as usize;
        flash::erase(&mut self.flash, start, end)?;
        self.writing = Some(Writing {
            slot,
            length,
            checksum,
            written: 0,
        });
        Ok(())
    }

    /// Writes the next part of the model.
    pub(super) fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), Refusal<'static>> {
        let mut writing = self.writing.ok_or(Refusal::NotWriting)?;
        let written = super::commands::next_part(writing.written, writing.length, offset, data)?;
        let to = self.start(writing.slot) + SLOT_HEADER_BYTES + offset as usize;
        flash::write(&mut self.flash, to, data)?;
        writing.written = written;
        self.writing = Some(writing);
        Ok(())
    }

    /// The complete model that was written; what was written is forgotten.
    pub(super) fn written(&mut self) -> Result<Written<'_, F>, Refusal<'static>> {
        let writing = self.writing.take().ok_or(Refusal::NotWriting)?;
        if writing.written != writing.length {
            return Err(Refusal::Incomplete {
                expected: writing.length,
                received: writing.written,
            });
        }
        let computed = CHECKSUM.checksum(self.content(writing.slot, writing.length));
        if computed != writing.checksum {
            return Err(Refusal::Checksum {
                stated: writing.checksum,
                computed,
            });
        }
        Ok(Written {
            slots: self,
            writing,
        })
    }

    fn slot_bytes(&self) -> usize {
        let share = self.flash.capacity() / usize::from(self.count.max(1));
        share / F::ERASE_SIZE * F::ERASE_SIZE
    }

    fn start(&self, slot: u8) -> usize {
        usize::from(slot) * self.slot_bytes()
    }

    fn slot(&self, slot: u8) -> &[u8] {
        let rest = self.flash.memory().get(self.start(slot)..);
        rest.and_then(|rest| rest.get(..self.slot_bytes()))
            .unwrap_or_default()
    }

    fn content(&self, slot: u8, length: u32) -> &[u8] {
        let content = self.slot(slot).get(SLOT_HEADER_BYTES..);
        content
            .and_then(|content| content.get(..length as usize))
            .unwrap_or_default()
    }

    /// The slot with the highest generation below `older_than`.
    fn newest(&self, older_than: Option<u32>) -> Option<Active> {
        (0..self.count)
            .filter_map(|slot| {
                let header = SlotHeader::parse(self.slot(slot))?;
                Some(Active {
                    slot,
                    generation: header.generation,
                    length: header.length,
                })
            })
            .filter(|found| older_than.is_none_or(|limit| found.generation < limit))
            .max_by_key(|found| found.generation)
    }

    /// The slot after the one in use.
    fn free_slot(&self) -> u8 {
        self.active
            .map_or(0, |active| (active.slot + 1) % self.count.max(1))
    }
}

/// A model that is complete in flash but not valid yet.
pub(super) struct Written<'s, F> {
    slots: &'s mut Slots<F>,
    writing: Writing,
}

impl<F: ModelFlash> Written<'_, F> {
    pub(super) fn bytes(&self) -> &[u8] {
        self.slots.content(self.writing.slot, self.writing.length)
    }

    /// Erases the places of its calibration records.
    pub(super) fn clear_records(&mut self) -> Result<(), Refusal<'static>> {
        let room = self.slots.behind(self.writing.slot, self.writing.length);
        let model = Model::reopen(self.bytes()).ok();
        match model.and_then(|model| Records::of(&model, &room, F::ERASE_SIZE)) {
            Some(records) => records.reset(&mut self.slots.flash, None),
            None => Ok(()),
        }
    }

    /// Makes it the model in use.
    pub(super) fn activate(self) -> Result<Active, Refusal<'static>> {
        let newest = self.slots.newest(None);
        let header = SlotHeader {
            generation: newest.map_or(0, |newest| newest.generation.saturating_add(1)),
            length: self.writing.length,
        };
        let start = self.slots.start(self.writing.slot);
        flash::write(&mut self.slots.flash, start, &header.encode())?;
        let active = Active {
            slot: self.writing.slot,
            generation: header.generation,
            length: header.length,
        };
        self.slots.active = Some(active);
        Ok(active)
    }
}
