//! What a board remembers of a calibration between two requests.

use crate::calibration::{Corrections, Evidence, Header, Metric, Passes, Plan, PlanLayer, Trial};
use crate::format::{CHECKSUM, Model};
use crate::protocol::{Pass, Progress, Refusal, Tally};

use super::ModelFlash;
use super::commands::WORD;
use super::facts::Facts;
use super::records::Records;
use super::slots::Slots;

pub(super) const TALLIES: usize = 3;

/// A calibration that has begun and not ended. Its sums lie in the arena behind what the model
/// uses, and so do, after the last pass, the histograms of its trials.
#[derive(Debug, Clone)]
pub(super) struct Session {
    passes: Passes,
    pub(super) prior: u32,
    /// Where its record is being written.
    pub(super) place: u8,
    /// Bytes of the record's payload so far.
    pub(super) written: u32,
    /// Passes that are over.
    pub(super) finished: u16,
    /// Passes in all.
    count: u16,
    /// Images of this pass.
    pub(super) images: u32,
    /// Images of the pass that had fewest.
    pub(super) fewest: u32,
    pub(super) channels: u32,
    pub(super) clamped: u32,
    pub(super) tallies: [Counts; TALLIES],
    pub(super) golden_images: u32,
    pub(super) golden_agreeing: [u32; 2],
}

/// What trial runs led to, beside their histogram.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) images: u32,
    pub(super) margins: u64,
    pub(super) correct: u32,
}

/// A set of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parameters {
    /// Those of the record in use, else the factory's.
    InUse,
    /// Those of the calibration so far.
    New,
}

/// What replaces the parameters of the model in use, read in place.
pub(super) fn parameters<'f, F: ModelFlash>(
    slots: &'f Slots<F>,
    facts: &Facts,
    session: Option<&Session>,
    which: Parameters,
) -> Corrections<'f> {
    let payload = facts.records.and_then(|records| match which {
        Parameters::InUse => Some(records.active_payload(slots.memory(), facts.record?)),
        Parameters::New => Some(session?.payload(&records, slots.memory())),
    });
    Corrections::reopen(payload.unwrap_or_default())
}

impl Session {
    /// One whose record goes into `place`.
    pub(super) fn new(passes: Passes, prior: u32, count: u16, place: u8) -> Self {
        Self {
            passes,
            prior,
            place,
            written: 0,
            finished: 0,
            count,
            images: 0,
            fewest: u32::MAX,
            channels: 0,
            clamped: 0,
            tallies: [Counts::default(); TALLIES],
            golden_images: 0,
            golden_agreeing: [0; 2],
        }
    }

    /// The new parameters so far.
    pub(super) fn payload<'f>(&self, records: &Records, memory: &'f [u8]) -> &'f [u8] {
        records.payload(memory, self.place, self.written)
    }

    /// The layer whose turn it is.
    pub(super) fn layer<'m>(&self, model: &Model<'m>) -> Result<PlanLayer<'m>, Refusal<'static>> {
        let mut layers = Plan::of(model)
            .into_iter()
            .flat_map(|plan| plan.passes(self.passes));
        layers.nth(self.finished.into()).ok_or(Refusal::NoPassLeft)
    }

    /// Whether all new parameters are there.
    pub(super) fn is_complete(&self) -> Result<(), Refusal<'static>> {
        match self.count.saturating_sub(self.finished) {
            0 => Ok(()),
            left => Err(Refusal::PassesLeft { left }),
        }
    }

    pub(super) fn reply(&self, model: &Model<'_>) -> Progress {
        let layer = self.layer(model).ok();
        Progress {
            passes: self.count,
            pass: layer.map(|layer| Pass {
                index: self.finished,
                operation: layer.operation,
                channels: layer.channels,
                most_images: layer.most_images(model),
            }),
            memory_bytes: memory_bytes(model, self.passes) as u32,
            golden_images: model.golden().images,
            place: self.place,
        }
    }

    /// What the acceptance test looks at; `histograms` are those of the tallies.
    pub(super) fn evidence<'h>(
        &self,
        histograms: &'h [u32],
        classes: usize,
        labels: bool,
    ) -> Evidence<'h> {
        let histogram = |tally: Tally| {
            let rest = histograms.get(tally as usize * classes..);
            rest.and_then(|rest| rest.get(..classes))
                .unwrap_or_default()
        };
        let [_, before, after] = self.tallies;
        let [golden_before, golden_after] = self.golden_agreeing;
        let trial = |counts: Counts, tally, golden_agreeing| Trial {
            images: counts.images,
            histogram: histogram(tally),
            margins: counts.margins,
            golden_agreeing,
            golden_images: self.golden_images,
        };
        Evidence {
            images: self.fewest,
            histogram: histogram(Tally::Seen),
            channels: self.channels,
            clamped: self.clamped,
            before: trial(before, Tally::Before, golden_before),
            after: trial(after, Tally::After, golden_after),
            correct: labels.then_some([before.correct, after.correct]),
        }
    }

    /// The header of its record.
    pub(super) fn header(
        &self,
        model: &Model<'_>,
        payload: &[u8],
        metric: Metric,
        generation: u32,
    ) -> Header {
        let (identity, _) = model.identity().as_chunks();
        let clamped = u64::from(self.clamped) * 1000;
        Header {
            generation,
            model: identity.first().copied().unwrap_or_default(),
            plan: Plan::of(model).map_or(0, |plan| plan.checksum()),
            images: self.fewest,
            prior: self.prior,
            layers: self.finished,
            clamped_permille: clamped
                .checked_div(self.channels.into())
                .unwrap_or_default() as u16,
            before: metric.before,
            after: metric.after,
            labelled: metric.labelled,
            payload_length: payload.len() as u32,
            payload_checksum: CHECKSUM.checksum(payload),
        }
    }
}

/// Bytes that a calibration needs beside the arena: for the sums of one pass, later for the
/// histograms of the trials.
pub(super) fn memory_bytes(model: &Model<'_>, passes: Passes) -> usize {
    let sums = Plan::of(model).map_or(0, |plan| plan.memory_bytes(passes));
    let histograms = TALLIES * usize::from(model.header().classes) * WORD;
    sums.max(histograms)
}
