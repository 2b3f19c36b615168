//! Operations on many images beside convolutions.

use std::vec::Vec;

use std::ops::Range;

use super::convolution::{self, Padded};
use super::epilogue::Finish;
use super::lanes::Vectors;
use super::plan::StepKind;
use super::tensor::{IMAGES, Lanes, Tensor};
use crate::arithmetic::{Affine, saturate_i32};
use crate::calibration::Collector;
use crate::kernels::pool::Windows;

/// What an operation reads and writes.
pub(super) struct Run<'a> {
    /// The pixels, for the first operation.
    pub(super) images: &'a [&'a [u8]],
    /// All tensors by slot.
    pub(super) tensors: &'a [Tensor],
    /// Memory for padded images.
    pub(super) padded: &'a mut [Padded; 2],
    pub(super) output: &'a mut Tensor,
    /// Takes in the accumulators of a convolution, of as many images as there are.
    pub(super) collector: Option<Collector<'a>>,
}

/// Sum of two tensors.
#[derive(Debug)]
pub(super) struct AddStep {
    pub(super) left: usize,
    pub(super) right: usize,
    pub(super) finish: Finish,
    pub(super) low: i32,
    pub(super) high: i32,
}

/// Windows of an image, reduced to one value per channel.
#[derive(Debug)]
pub(super) struct PoolStep {
    pub(super) input: usize,
    pub(super) windows: Windows,
    pub(super) reduction: Reduction,
}

/// How a window becomes one value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reduction {
    Max,
    Sum,
    Average { affine: Affine, low: i32, high: i32 },
}

/// The classifier.
#[derive(Debug)]
pub(super) struct LogitsStep {
    pub(super) input: usize,
    /// One row per class.
    pub(super) weights: Vec<i16>,
    pub(super) affines: Vec<Affine>,
}

/// Computes the output of an operation.
#[inline(always)]
pub(super) fn execute<V: Vectors>(kind: &StepKind, run: Run<'_>) {
    match kind {
        StepKind::InputTable(table) => input_table(table, run.images, run.output),
        StepKind::Convolution(step) => convolution::run::<V>(step, run),
        StepKind::Add(step) => add(step, run.tensors, run.output),
        StepKind::Pool(step) => pool(step, run.tensors, run.output),
        StepKind::Logits(step) => logits(step, &run.tensors[step.input], run.output),
    }
}

fn input_table(table: &[i16], images: &[&[u8]], output: &mut Tensor) {
    let channels = output.channels;
    for y in 0..output.height {
        for x in 0..output.width {
            for channel in 0..channels {
                let place = (y * output.width + x) * channels + channel;
                let value = |image: &&[u8]| {
                    let pixel = image.get(place).copied().unwrap_or_default();
                    i32::from(table[usize::from(pixel) * channels + channel])
                };
                let mut lanes: Lanes = [0; IMAGES];
                for (lane, image) in lanes.iter_mut().zip(images) {
                    *lane = value(image);
                }
                output.set(y, x, channel, lanes);
            }
        }
    }
}

#[inline(always)]
fn add(step: &AddStep, tensors: &[Tensor], output: &mut Tensor) {
    let (left, right) = (&tensors[step.left], &tensors[step.right]);
    for y in 0..output.height {
        for x in 0..output.width {
            for channel in 0..output.channels {
                let (left, right) = (left.get(y, x, channel), right.get(y, x, channel));
                let bounds = [step.low, step.high];
                let values = step.finish.values(&left, Some(&right), bounds);
                output.set(y, x, channel, values);
            }
        }
    }
}

#[inline(always)]
fn pool(step: &PoolStep, tensors: &[Tensor], output: &mut Tensor) {
    let input = &tensors[step.input];
    for y in 0..output.height {
        let rows = step.windows.range(0, y, input.height);
        for x in 0..output.width {
            let columns = step.windows.range(1, x, input.width);
            for channel in 0..output.channels {
                let values = step
                    .reduction
                    .window(input, rows.clone(), columns.clone(), channel);
                output.set(y, x, channel, values);
            }
        }
    }
}

impl Reduction {
    #[inline(always)]
    fn window(
        self,
        input: &Tensor,
        rows: Range<usize>,
        columns: Range<usize>,
        channel: usize,
    ) -> Lanes {
        let initial = if matches!(self, Self::Max) {
            i32::MIN
        } else {
            0
        };
        let mut totals = [initial; IMAGES];
        for y in rows {
            for x in columns.clone() {
                for (total, value) in totals.iter_mut().zip(input.get(y, x, channel)) {
                    *total = match self {
                        Self::Max => value.max(*total),
                        Self::Sum | Self::Average { .. } => total.wrapping_add(value),
                    };
                }
            }
        }
        match self {
            Self::Max | Self::Sum => totals,
            Self::Average { affine, low, high } => Finish {
                affine,
                addend_multiplier: 0,
            }
            .values(&totals, None, [low, high]),
        }
    }
}

#[inline(always)]
fn logits(step: &LogitsStep, features: &Tensor, output: &mut Tensor) {
    let taps = features.height * features.width * features.channels;
    let rows = step.weights.chunks_exact(taps.max(1));
    for (class, (row, affine)) in rows.zip(&step.affines).enumerate() {
        let mut sums = [0i64; IMAGES];
        let mut weights = row.iter();
        for y in 0..features.height {
            for x in 0..features.width {
                for (channel, weight) in (0..features.channels).zip(&mut weights) {
                    let values = features.get(y, x, channel);
                    for (sum, value) in sums.iter_mut().zip(values) {
                        let product = i64::from(*weight).wrapping_mul(value.into());
                        *sum = sum.wrapping_add(product);
                    }
                }
            }
        }
        let lanes = sums.map(|sum| saturate_i32(affine.apply_wide(sum)));
        output.set(0, 0, class, lanes);
    }
}
