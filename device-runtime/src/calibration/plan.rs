//! The layers of a model that can be calibrated, and what is known about their accumulators.

use serde::{Deserialize, Serialize};

use crate::format::{CHECKSUM, Kind, Model, Operation, PLAN_ENTRY_BYTES, STATISTICS_BYTES};

use super::record::layer_bytes;
use super::{Moments, Reference};

/// Which layers are calibrated, each in a pass of its own, with those before it corrected already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Passes {
    /// The few layers that were found to bring most.
    Fast,
    /// All layers: BatchNorm adaptation in the order of evaluation.
    Exact,
}

/// The layers that a model can be calibrated by, in execution order.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    entries: &'a [[u8; PLAN_ENTRY_BYTES]],
    statistics: &'a [u8],
    checksum: u32,
}

/// A layer of a [`Plan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLayer<'a> {
    /// Number of the operation, a convolution.
    pub operation: u16,
    /// Its output channels.
    pub channels: u16,
    /// Whether it belongs to [`Passes::Fast`].
    pub fast: bool,
    shift: u8,
    statistics: &'a [[u8; STATISTICS_BYTES]],
}

impl<'a> Plan<'a> {
    /// The plan of `model`; `None` if it cannot be calibrated.
    #[must_use]
    pub fn of(model: &Model<'a>) -> Option<Self> {
        let calibration = &model.header().calibration;
        let (entries, _) = model.blob(calibration.plan).as_chunks();
        (!entries.is_empty()).then_some(Self {
            entries,
            statistics: model.blob(calibration.statistics),
            checksum: calibration.checksum,
        })
    }

    /// What a record names the plan by.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        self.checksum
    }

    /// CRC-32 of plan and statistics as they lie in the file.
    #[must_use]
    pub fn checksum_of(plan: &[u8], statistics: &[u8]) -> u32 {
        let mut digest = CHECKSUM.digest();
        digest.update(plan);
        digest.update(statistics);
        digest.finalize()
    }

    /// The number of convolutions of `model`, if `passes` would calibrate them all but the model
    /// only holds statistics of the fast plan's.
    #[must_use]
    pub fn lacks(&self, model: &Model<'_>, passes: Passes) -> Option<usize> {
        let is_convolution =
            |operation: &Operation<'_>| matches!(operation.kind, Kind::Conv2d { .. });
        let convolutions = model.operations().filter(is_convolution).count();
        let only_fast = self.layers().all(|layer| layer.fast);
        let lacks = passes == Passes::Exact && only_fast && self.layer_count() < convolutions;
        lacks.then_some(convolutions)
    }

    /// Number of layers, at least 1.
    #[must_use]
    pub fn layer_count(&self) -> usize {
        self.entries.len()
    }

    /// All layers.
    pub fn layers(&self) -> impl Iterator<Item = PlanLayer<'a>> + use<'a> {
        let (mut statistics, _) = self.statistics.as_chunks();
        self.entries.iter().map(move |entry| {
            let [o0, o1, c0, c1, shift, fast, ..] = *entry;
            let channels = u16::from_le_bytes([c0, c1]);
            let (layer, rest) = statistics
                .split_at_checked(channels.into())
                .unwrap_or_default();
            statistics = rest;
            PlanLayer {
                operation: u16::from_le_bytes([o0, o1]),
                channels,
                fast: fast == 1,
                shift,
                statistics: layer,
            }
        })
    }

    /// The layers of `passes`.
    pub fn passes(&self, passes: Passes) -> impl Iterator<Item = PlanLayer<'a>> + use<'a> {
        self.layers()
            .filter(move |layer| passes == Passes::Exact || layer.fast)
    }

    /// Bytes of a record's payload with the layers of `passes`.
    #[must_use]
    pub fn payload_bytes(&self, passes: Passes) -> usize {
        let layers = self.passes(passes);
        layers.map(|layer| layer.payload_bytes()).sum()
    }

    /// Bytes of memory that one pass needs at most.
    #[must_use]
    pub fn memory_bytes(&self, passes: Passes) -> usize {
        let bytes = self.passes(passes).map(|layer| layer.memory_bytes());
        bytes.max().unwrap_or_default()
    }
}

impl PlanLayer<'_> {
    /// Bytes of this layer in the payload of a record.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        layer_bytes(self.channels)
    }

    /// Bytes of memory for the sums of this layer, and for its new parameters in their place.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let sums = usize::from(self.channels) * Moments::BYTES;
        sums.max(self.payload_bytes())
    }

    /// Accumulators per channel for one image of `model`.
    #[must_use]
    pub fn positions(&self, model: &Model<'_>) -> u32 {
        let operation = model.operations().nth(self.operation.into());
        operation.map_or(0, |operation| {
            u32::from(operation.output.height) * u32::from(operation.output.width)
        })
    }

    /// Most images of `model` that [`Moments`] have room for.
    #[must_use]
    pub fn most_images(&self, model: &Model<'_>) -> u32 {
        let positions = self.positions(model);
        Moments::MOST.checked_div(positions).unwrap_or_default()
    }

    /// Accumulators are divided by `2^shift` before they are summed.
    #[must_use]
    pub fn shift(&self) -> u8 {
        self.shift
    }

    /// The statistics of a channel; `None` behind the last.
    #[must_use]
    pub fn reference(&self, channel: usize) -> Option<Reference> {
        let (mean, rest) = self.statistics.get(channel)?.split_first_chunk()?;
        Some(Reference {
            shift: self.shift,
            mean: i64::from_le_bytes(*mean),
            variance: u64::from_le_bytes(*rest.first_chunk()?),
        })
    }

    /// The entry of this layer in the file's plan.
    #[must_use]
    pub fn entry(operation: u16, channels: u16, shift: u8, fast: bool) -> [u8; PLAN_ENTRY_BYTES] {
        let ([o0, o1], [c0, c1]) = (operation.to_le_bytes(), channels.to_le_bytes());
        [o0, o1, c0, c1, shift, fast.into(), 0, 0]
    }
}

impl Reference {
    /// Largest size of a mean.
    pub const LARGEST_MEAN: i64 = 1 << 37;
    /// Largest variance.
    pub const LARGEST_VARIANCE: i64 = (1 << 60) - 1;
    /// Largest shift: that of accumulators of 31 bits.
    pub const LARGEST_SHIFT: u8 = Self::shift_for(1 << 31);

    /// The statistics of a channel in the file.
    #[must_use]
    pub fn encode(&self) -> [u8; STATISTICS_BYTES] {
        let halves = [self.mean.to_le_bytes(), self.variance.to_le_bytes()];
        let mut bytes = [0; STATISTICS_BYTES];
        bytes
            .iter_mut()
            .zip(halves.as_flattened())
            .for_each(|(to, from)| *to = *from);
        bytes
    }
}
