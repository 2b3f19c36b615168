//! Quantizers whose step is learned (LSQ: Esser et al., Learned Step Size Quantization, ICLR 2020).
//!
//! A code stands for an integer times the step. With `v = x / step`, integers from `lowest` to
//! `highest` and rounding seen as adding a constant, the gradient of the dequantized value is
//!
//! ```text
//!                        d x' / d x    d x' / d ln(step)
//! lowest <= v <= highest     1         step * (round(v) - v)
//! elsewhere                  0         step * (lowest or highest)
//! ```
//! The logarithm is what is learned: a step stays positive and moves by a share of itself.

use candle_core::{Device, Tensor};

use crate::{
    dfq::{
        Result,
        quantizer::{LinearQuantizer, range},
    },
    graph::ActivationRange,
};

/// Smallest step.
const SMALLEST_STEP: f32 = 1e-8;

/// The quantizers of a tensor: one per output channel of a weight, a single one for activations.
#[derive(Debug, Clone)]
pub(super) struct LearnedRanges {
    bits: u8,
    /// Integer value of code 0 of every quantizer, at most 0 and at least minus the highest code:
    /// 0 always has a code.
    lowest: Vec<i16>,
    /// Natural logarithm of the step of every quantizer.
    pub(super) log_step: Tensor,
}

impl LearnedRanges {
    /// Ranges for the rows of `values`, all as long: of minimum and maximum or, if `fitted`, with
    /// the least squared error.
    ///
    /// # Errors
    /// If the tensor cannot be made.
    pub(super) fn new<'a>(
        bits: u8,
        rows: impl Iterator<Item = &'a [f32]>,
        fitted: bool,
    ) -> Result<Self> {
        let (mut lowest, mut log_step) = (Vec::new(), Vec::new());
        for row in rows {
            let full = Grid::of_range(bits, row);
            let grid = if fitted { full.fitted(bits, row) } else { full };
            lowest.push(grid.lowest);
            log_step.push(grid.step.ln());
        }
        let count = lowest.len();
        Ok(Self {
            bits,
            lowest,
            log_step: Tensor::from_vec(log_step, count, &Device::Cpu)?,
        })
    }

    /// Real values of the lowest and the highest code of every quantizer.
    pub(super) fn ends(&self) -> Result<Vec<[f32; 2]>> {
        let steps = self.log_step.to_vec1::<f32>()?;
        let grids = self.lowest.iter().zip(steps);
        Ok(grids
            .map(|(&lowest, log_step)| {
                let step = log_step.exp().max(SMALLEST_STEP);
                Grid { lowest, step }.ends(self.bits)
            })
            .collect())
    }

    /// The first range, that of an activation.
    pub(super) fn activation_range(&self) -> Result<ActivationRange> {
        let [min, max] = self.ends()?[0];
        let bits = self.bits;
        Ok(ActivationRange { bits, min, max })
    }

    /// Integer values of code 0, for a checkpoint.
    pub(super) fn lowest(&self) -> Vec<f32> {
        self.lowest.iter().map(|&lowest| lowest.into()).collect()
    }

    /// Puts back what [`LearnedRanges::lowest`] gave.
    pub(super) fn set_lowest(&mut self, lowest: &[f32]) {
        self.lowest = lowest.iter().map(|&lowest| lowest as i16).collect();
    }

    /// Takes the gradient of what the codes of `values` stand for to that of the values, in place,
    /// and returns that of the logarithm of every step. Rows as in [`LearnedRanges::new`].
    pub(super) fn backward(&self, values: &[f32], gradient: &mut [f32]) -> Result<Vec<f32>> {
        let ends = self.ends()?;
        let size = values.len() / ends.len();
        let rows = values.chunks(size).zip(gradient.chunks_mut(size));
        rows.zip(ends)
            .map(|((values, gradient), [min, max])| {
                let bits = self.bits;
                let quantizer = LinearQuantizer::new(&ActivationRange { bits, min, max })?;
                Ok(row_backward(&quantizer, values, gradient) as f32)
            })
            .collect()
    }
}

fn row_backward(quantizer: &LinearQuantizer, values: &[f32], gradient: &mut [f32]) -> f64 {
    const CHUNK: usize = 1 << 12;
    let highest = quantizer.highest_code();
    let (lowest, scale) = (quantizer.zero_point, quantizer.scale);
    let chunks = values.chunks(CHUNK).zip(gradient.chunks_mut(CHUNK));
    let sum: f64 = chunks
        .map(|(values, gradient)| {
            let mut sum = 0.0;
            for (x, g) in values.iter().zip(gradient) {
                let v = x * scale;
                let clipped = v.clamp(lowest, lowest + highest);
                let inside = v == clipped;
                let rounded = nearest(clipped);
                sum += *g * if inside { rounded - v } else { clipped };
                *g = if inside { *g } else { 0.0 };
            }
            f64::from(sum)
        })
        .sum();
    sum / f64::from(scale)
}

/// Multiples of a step, from the lowest on.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Grid {
    lowest: i16,
    step: f32,
}

impl Grid {
    /// From the least to the greatest of `values` and 0.
    fn of_range(bits: u8, values: &[f32]) -> Self {
        let (min, max) = range(values);
        let (min, max) = (min.min(0.0), max.max(0.0));
        let highest = highest(bits);
        let step = ((max - min) / f32::from(highest)).max(SMALLEST_STEP);
        let lowest = (min / step).round() as i16;
        Self {
            lowest: lowest.clamp(-highest, 0),
            step,
        }
    }

    /// The grid with the least squared error of `values`, of steps no longer than this one's.
    fn fitted(self, bits: u8, values: &[f32]) -> Self {
        const CANDIDATES: u8 = 60;
        let mut best = (self.squared_error(bits, values), self);
        for share in 1..=CANDIDATES {
            let step = self.step * f32::from(share) / f32::from(CANDIDATES);
            for lowest in self.lowest - 1..=self.lowest + 1 {
                let grid = Self {
                    lowest: lowest.clamp(-highest(bits), 0),
                    step: step.max(SMALLEST_STEP),
                };
                // A range from 0 on is that of a ReLU, whose values are never negative.
                if grid == self || self.lowest == 0 && lowest != 0 {
                    continue;
                }
                let error = grid.squared_error(bits, values);
                if error < best.0 {
                    best = (error, grid);
                }
            }
        }
        best.1
    }

    fn squared_error(self, bits: u8, values: &[f32]) -> f64 {
        let [min, max] = self.ends(bits).map(|end| end / self.step);
        let errors = values.iter().map(|x| {
            let integer = nearest((x / self.step).clamp(min, max));
            let error = integer * self.step - x;
            f64::from(error * error)
        });
        errors.sum()
    }

    fn ends(self, bits: u8) -> [f32; 2] {
        let highest = self.lowest + highest(bits);
        [self.lowest, highest].map(|integer| f32::from(integer) * self.step)
    }
}

/// The nearest integer of a number that is at most some hundreds, ties to even, without a rounding
/// instruction.
fn nearest(value: f32) -> f32 {
    const NO_FRACTION: f32 = 12_582_912.0;
    (value + NO_FRACTION) - NO_FRACTION
}

fn highest(bits: u8) -> i16 {
    (1 << bits) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges(bits: u8, lowest: i16, step: f32) -> LearnedRanges {
        LearnedRanges {
            bits,
            lowest: vec![lowest],
            log_step: Tensor::new(&[step.ln()], &Device::Cpu).unwrap(),
        }
    }

    #[test]
    fn zero_always_has_a_code() {
        for row in [[0.5, 0.7, 0.9], [-3.0, -2.9, -2.0], [0.0; 3], [0.37; 3]] {
            for fitted in [false, true] {
                let ranges = LearnedRanges::new(3, [&row[..]].into_iter(), fitted).unwrap();
                let [[min, max]] = ranges.ends().unwrap()[..] else {
                    panic!("one range expected");
                };
                assert!(
                    min <= 0.0 && 0.0 <= max && min < max,
                    "{row:?}: {min} {max}"
                );
            }
        }
    }

    #[test]
    fn an_outlier_is_clipped_if_that_costs_least() {
        let mut row: Vec<f32> = (0..200).map(|i| 0.01 * (i % 20) as f32).collect();
        row.push(2.0);
        let max = |fitted| {
            let ranges = LearnedRanges::new(3, [&row[..]].into_iter(), fitted).unwrap();
            ranges.activation_range().unwrap().max
        };
        assert!((max(false) - 2.0).abs() < 1e-6);
        assert!(max(true) < 1.5, "{}", max(true));
    }

    proptest! {
        /// With rounding held fixed the value is linear or constant in both; a point within the
        /// difference of an end of the range has no slope.
        #[test]
        fn gradients_are_those_of_finite_differences(
            x in -3.0_f32..3.0,
            step in 0.1_f32..0.4,
            lowest in -7_i16..=0,
        ) {
            let end = |integer: i16| f32::from(integer) * step;
            let near = |end: f32| (x - end).abs() < 0.05;
            prop_assume!(!near(end(lowest)) && !near(end(lowest + 7)));
            let integers = |x: f32, step: f32| {
                (x / step).clamp(f32::from(lowest), f32::from(lowest + 7))
            };
            let rounding = nearest(integers(x, step)) - integers(x, step);
            let value = |x: f32, step: f32| step * (integers(x, step) + rounding);
            let mut gradient = [1.0];
            let of_step = ranges(3, lowest, step).backward(&[x], &mut gradient).unwrap()[0];
            let shift = 1e-3_f32;
            let slope = (value(x + shift, step) - value(x - shift, step)) / (2.0 * shift);
            prop_assert!((slope - gradient[0]).abs() < 1e-3, "{} {}", slope, gradient[0]);
            let moved = |sign: f32| value(x, step * (sign * shift).exp());
            let slope = (moved(1.0) - moved(-1.0)) / (2.0 * shift);
            prop_assert!((slope - of_step).abs() < 2e-3, "{} {}", slope, of_step);
        }
    }
}
