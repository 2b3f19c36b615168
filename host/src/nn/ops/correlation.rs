//! Weighted sums over neighbourhoods of images: a convolution, or its gradient with respect to the
//! input.
//!
//! Outputs are computed in phases. A convolution has one; in the gradient of a convolution of
//! stride 2 every second row and column is reached by the same taps of the kernel, which makes four
//! phases, each a small convolution of stride 1.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::buffer::Buffer;
use super::instructions::arch;
use super::packed::{Packed, lanes, unpack};

/// Output channels computed together.
const TILE: usize = 4;
/// Vectors of the input that one pass over the output channels may read: few enough to stay in a
/// core's second-level cache.
const VECTORS_PER_PASS: usize = 3000;

/// Taps of the outputs `first`, `first + step`, ...
pub(super) struct Phase {
    /// First row and column.
    first: [usize; 2],
    /// For every channel and tap its place in the input, in vectors.
    offsets: Vec<usize>,
    /// `[group][tile of output channels][offset][output channel of the tile]`.
    weights: Vec<f32>,
}

/// Sizes that all phases share.
pub(super) struct Correlation<'a> {
    /// What is read.
    pub(super) input: &'a Packed,
    /// Channel groups.
    pub(super) groups: usize,
    /// Channels read by each group.
    pub(super) group_inputs: usize,
    /// Channels written by each group.
    pub(super) group_outputs: usize,
    /// Step in the input from one output of a phase to the next.
    pub(super) stride: usize,
    /// Step in the output from one output of a phase to the next.
    pub(super) step: usize,
    /// Rows and columns written.
    pub(super) output: [usize; 2],
    /// Added to every output channel.
    pub(super) bias: Option<&'a [f32]>,
}

impl Correlation<'_> {
    fn tile(&self) -> usize {
        if self.group_outputs == 1 { 1 } else { TILE }
    }

    fn channels(&self) -> usize {
        self.groups * self.group_outputs
    }

    /// A phase with the weight `weight(output channel, offset)`; output channels count over all
    /// groups.
    pub(super) fn phase(
        &self,
        first: [usize; 2],
        offsets: Vec<usize>,
        weight: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Phase {
        let tile = self.tile();
        let tiles = self.group_outputs.div_ceil(tile);
        let mut weights = vec![0f32; self.groups * tiles * offsets.len() * tile];
        let panels = weights.par_chunks_exact_mut((offsets.len() * tile).max(1));
        panels.enumerate().for_each(|(index, panel)| {
            let (group, first) = (index / tiles, index % tiles * tile);
            for channel in first..self.group_outputs.min(first + tile) {
                let targets = panel[channel - first..].iter_mut().step_by(tile);
                for (column, target) in targets.enumerate() {
                    *target = weight(group * self.group_outputs + channel, column);
                }
            }
        });
        Phase {
            first,
            offsets,
            weights,
        }
    }

    /// All outputs, `[batch, channels, rows, columns]`.
    pub(super) fn compute(&self, phases: &[Phase], batch: usize) -> Vec<f32> {
        let [height, width] = self.output;
        let row = self.channels() * width * lanes();
        let mut packed = Buffer::with_length(self.input.blocks * height * row);
        let rows = packed.as_mut_slice().par_chunks_exact_mut(row.max(1));
        rows.enumerate().for_each(|(index, output)| {
            arch().dispatch(Row {
                correlation: self,
                phases,
                block: index / height,
                row: index % height,
                output,
            });
        });
        unpack(
            packed.as_slice(),
            [batch, self.channels(), height, width],
            lanes(),
        )
    }
}

/// One row of all output channels of a block of samples.
struct Row<'a> {
    correlation: &'a Correlation<'a>,
    phases: &'a [Phase],
    block: usize,
    row: usize,
    output: &'a mut [f32],
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (input, _) = S::as_simd_f32s(self.correlation.input.block(self.block));
        let (output, _) = S::as_mut_simd_f32s(self.output);
        let step = self.correlation.step;
        for phase in self.phases {
            if self.row % step == phase.first[0] {
                let pass = Pass {
                    correlation: self.correlation,
                    phase,
                    row: self.row / step,
                };
                if self.correlation.tile() == 1 {
                    pass.run::<S, 1>(simd, input, output);
                } else {
                    pass.run::<S, TILE>(simd, input, output);
                }
            }
        }
    }
}

/// The outputs of one phase in one row.
struct Pass<'a> {
    correlation: &'a Correlation<'a>,
    phase: &'a Phase,
    /// Index among the rows of the phase.
    row: usize,
}

impl Pass<'_> {
    #[inline(always)]
    fn run<S: Simd, const CHANNELS: usize>(
        &self,
        simd: S,
        input: &[S::f32s],
        output: &mut [S::f32s],
    ) {
        let correlation = self.correlation;
        let [height, width] = correlation.input.size;
        let columns = self.phase.offsets.len();
        let (weights, _) = self.phase.weights.as_chunks::<CHANNELS>();
        let tiles = correlation.group_outputs.div_ceil(CHANNELS);
        let per_channel = columns / correlation.group_inputs;
        let channels = (VECTORS_PER_PASS / (3 * width)).max(1);
        let columns_per_pass = (channels * per_channel).max(1);
        for group in 0..correlation.groups {
            let start = group * correlation.group_inputs * height * width
                + self.row * correlation.stride * width;
            let input = &input[start..];
            let weights = &weights[group * tiles * columns..][..tiles * columns];
            // At least once, as an output without taps is its bias.
            for first in (0..columns.max(1)).step_by(columns_per_pass) {
                let offsets = &self.phase.offsets[first..columns.min(first + columns_per_pass)];
                for tile in 0..tiles {
                    let weights = &weights[tile * columns + first..][..offsets.len()];
                    let channel = group * correlation.group_outputs + tile * CHANNELS;
                    let end = (group + 1) * correlation.group_outputs;
                    let line = Line {
                        pass: self,
                        offsets,
                        weights,
                        channels: channel..end.min(channel + CHANNELS),
                        is_first: first == 0,
                    };
                    line.run(simd, input, output);
                }
            }
        }
    }
}

/// The outputs of a tile of channels in one row, summed over some of the columns.
struct Line<'a, const CHANNELS: usize> {
    pass: &'a Pass<'a>,
    offsets: &'a [usize],
    weights: &'a [[f32; CHANNELS]],
    channels: std::ops::Range<usize>,
    is_first: bool,
}

impl<const CHANNELS: usize> Line<'_, CHANNELS> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, input: &[S::f32s], output: &mut [S::f32s]) {
        let correlation = self.pass.correlation;
        let first = self.pass.phase.first[1];
        let count =
            (correlation.output[1] - first.min(correlation.output[1])).div_ceil(correlation.step);
        let mut done = 0;
        if S::REGISTER_COUNT >= 32 {
            while done + 4 <= count {
                self.tile::<S, 4>(simd, input, output, done);
                done += 4;
            }
        }
        while done + 2 <= count {
            self.tile::<S, 2>(simd, input, output, done);
            done += 2;
        }
        if done < count {
            self.tile::<S, 1>(simd, input, output, done);
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const PIXELS: usize>(
        &self,
        simd: S,
        input: &[S::f32s],
        output: &mut [S::f32s],
        pixel: usize,
    ) {
        let correlation = self.pass.correlation;
        let width = correlation.output[1];
        let place = |channel: usize, index: usize| {
            channel * width + self.pass.phase.first[1] + (pixel + index) * correlation.step
        };
        let mut sums = [[simd.splat_f32s(0.0); PIXELS]; CHANNELS];
        for (sums, channel) in sums.iter_mut().zip(self.channels.clone()) {
            for (index, sum) in sums.iter_mut().enumerate() {
                *sum = match (self.is_first, correlation.bias) {
                    (true, Some(bias)) => simd.splat_f32s(bias[channel]),
                    (true, None) => *sum,
                    (false, _) => output[place(channel, index)],
                };
            }
        }
        let input = &input[pixel * correlation.stride..];
        if correlation.stride == 1 {
            self.sum(simd, input, 1, &mut sums);
        } else {
            self.sum(simd, input, correlation.stride, &mut sums);
        }
        for (sums, channel) in sums.iter().zip(self.channels.clone()) {
            for (index, sum) in sums.iter().enumerate() {
                output[place(channel, index)] = *sum;
            }
        }
    }

    #[inline(always)]
    fn sum<S: Simd, const PIXELS: usize>(
        &self,
        simd: S,
        input: &[S::f32s],
        stride: usize,
        sums: &mut [[S::f32s; PIXELS]; CHANNELS],
    ) {
        let span = (PIXELS - 1) * stride + 1;
        let mut totals = *sums;
        for (offset, weights) in self.offsets.iter().zip(self.weights) {
            let source = &input[*offset..][..span];
            let mut values = [simd.splat_f32s(0.0); PIXELS];
            for (index, value) in values.iter_mut().enumerate() {
                *value = source[index * stride];
            }
            for (totals, weight) in totals.iter_mut().zip(weights) {
                let weight = simd.splat_f32s(*weight);
                for (total, value) in totals.iter_mut().zip(&values) {
                    *total = simd.mul_add_f32s(weight, *value, *total);
                }
            }
        }
        *sums = totals;
    }
}
