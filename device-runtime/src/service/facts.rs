//! The model in use, and why one cannot be.

use super::ModelFlash;
use super::calibrate::CALIBRATES;
use super::records::{ActiveRecord, Records};
use super::slots::Slots;
use crate::engine;
use crate::format::{self, Model};
use crate::protocol::ModelInfo;

/// Why a model cannot be used.
pub(super) enum Unusable {
    Format(format::Error),
    Engine(engine::Error),
}

/// What requests need to know about the model in use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) info: ModelInfo,
    /// Where pixels go, first byte in the arena.
    pub(super) pixels: u32,
    /// Where its calibration records lie, if it can be calibrated.
    pub(super) records: Option<Records>,
    /// The one in use.
    pub(super) record: Option<ActiveRecord>,
}

impl Facts {
    /// Checks the model completely.
    pub(super) fn read(bytes: &[u8], available: usize) -> Result<Self, Unusable> {
        let model = Model::new_checked(bytes).map_err(Unusable::Format)?;
        let header = model.header();
        let needed = header.arena_bytes;
        if needed as usize > available {
            let needed = needed as usize;
            return Err(Unusable::Engine(engine::Error::ArenaTooSmall {
                needed,
                available,
            }));
        }
        let info = ModelInfo {
            identity: *model.identity(),
            version: model.version(),
            length: bytes.len() as u32,
            generation: 0,
            arena_bytes: needed,
            pixel_bytes: model.pixel_bytes() as u32,
            classes: header.classes,
            operations: header.operations,
            record: None,
        };
        let pixels = header.pixels;
        Ok(Self {
            info,
            pixels,
            records: None,
            record: None,
        })
    }

    /// Finds the newest calibration record of the model in use.
    pub(super) fn find_record<F: ModelFlash>(&mut self, slots: &Slots<F>) {
        if !CALIBRATES {
            return;
        }
        let Ok(model) = Model::reopen(slots.active_bytes()) else {
            return;
        };
        self.records = Records::of(&model, &slots.behind_active(), F::ERASE_SIZE);
        self.record = self
            .records
            .and_then(|records| records.newest(slots.memory(), &model));
        self.info.record = self.record.map(|record| record.generation);
    }
}
