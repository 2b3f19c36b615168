//! Convolutions: a tile of output channels at a few neighbouring pixels at a time.
//!
//! Input channels are taken in pairs of 16-bit values or, where that is faster and input and weights
//! allow it, in quads of 8-bit codes.

use std::vec::Vec;

use super::epilogue::Finish;
use super::lanes::Vectors;
use super::operators::Run;
use super::tensor::{IMAGES, Lanes, Tensor};
use crate::calibration::Collector;

pub(super) mod quads;
mod source;
mod view;

pub(super) use source::{Source, tile_channels};
use view::Operand;
pub(super) use view::Padded;

/// A convolution with requantization and what is added before rounding.
#[derive(Debug)]
pub(super) struct ConvolutionStep {
    pub(super) main: Source,
    /// One per output channel.
    pub(super) finish: Vec<Finish>,
    pub(super) low: i32,
    pub(super) high: i32,
    pub(super) addend: Addend,
}

/// What is added to an accumulator before rounding.
#[derive(Debug)]
pub(super) enum Addend {
    None,
    Identity {
        input: usize,
        stride: usize,
        channel_offset: usize,
    },
    Projection(Source),
}

/// Computes the output of `step`.
#[inline(always)]
pub(super) fn run<V: Vectors>(step: &ConvolutionStep, run: Run<'_>) {
    let size = [run.output.height, run.output.width];
    let [first, second] = run.padded;
    let main = step.main.operand(run.tensors, first, size);
    let projection = match &step.addend {
        Addend::Projection(source) => Some(source.operand(run.tensors, second, size)),
        Addend::None | Addend::Identity { .. } => None,
    };
    let pass = Pass {
        step,
        main,
        projection,
        tensors: run.tensors,
        collector: run.collector,
        images: run.images.len().min(IMAGES),
    };
    match step.main.together {
        1 => pass.rows::<V, 1>(run.output),
        2 => pass.rows::<V, 2>(run.output),
        _ => pass.rows::<V, 4>(run.output),
    }
}

struct Pass<'a> {
    step: &'a ConvolutionStep,
    main: Operand<'a>,
    projection: Option<Operand<'a>>,
    tensors: &'a [Tensor],
    collector: Option<Collector<'a>>,
    /// Images that are there; the others do not count.
    images: usize,
}

impl Pass<'_> {
    #[inline(always)]
    fn rows<V: Vectors, const CHANNELS: usize>(&self, output: &mut Tensor) {
        for y in 0..output.height {
            let mut x = 0;
            while x < output.width {
                if V::PIXELS == 4 && x + 4 <= output.width {
                    self.pixels::<V, CHANNELS, 4>(y, x, output);
                    x += 4;
                } else {
                    self.pixels::<V, CHANNELS, 1>(y, x, output);
                    x += 1;
                }
            }
        }
    }

    #[inline(always)]
    fn pixels<V: Vectors, const CHANNELS: usize, const PIXELS: usize>(
        &self,
        y: usize,
        x: usize,
        output: &mut Tensor,
    ) {
        let main = self.main.at::<V, PIXELS>(y, x);
        let projection = self.projection.map(|operand| operand.at::<V, PIXELS>(y, x));
        for tile in 0..self.step.main.tiles.len() {
            let sums = main.sums::<V, CHANNELS>(tile);
            let projected = projection.as_ref().map(|at| at.sums::<V, CHANNELS>(tile));
            for pixel in 0..PIXELS {
                let mut values = [[0; IMAGES]; CHANNELS];
                for (index, values) in values.iter_mut().enumerate() {
                    let channel = tile * CHANNELS + index;
                    let Some(finish) = self.step.finish.get(channel) else {
                        break;
                    };
                    let sums = main.exact(V::to_array(sums[pixel][index]), pixel, channel);
                    if let Some(collector) = &self.collector {
                        collector.add(channel, &sums[..self.images]);
                    }
                    let addend = match (&projection, &projected) {
                        (Some(at), Some(projected)) => {
                            let sums = V::to_array(projected[pixel][index]);
                            Some(at.exact(sums, pixel, channel))
                        }
                        _ => self.skipped(y, x + pixel, channel),
                    };
                    let bounds = [self.step.low, self.step.high];
                    *values = finish.values(&sums, addend.as_ref(), bounds);
                }
                store(output, y, x + pixel, tile * CHANNELS, &values);
            }
        }
    }

    /// What the skipping tensor adds; nothing beside its channels or without one.
    #[inline(always)]
    fn skipped(&self, y: usize, x: usize, channel: usize) -> Option<Lanes> {
        let Addend::Identity {
            input,
            stride,
            channel_offset,
        } = self.step.addend
        else {
            return None;
        };
        let tensor = &self.tensors[input];
        let channel = channel.checked_sub(channel_offset)?;
        (channel < tensor.channels).then(|| tensor.get(y * stride, x * stride, channel))
    }
}

/// Writes the channels from `first` on, as many as there are.
#[inline(always)]
fn store<const CHANNELS: usize>(
    output: &mut Tensor,
    y: usize,
    x: usize,
    first: usize,
    values: &[Lanes; CHANNELS],
) {
    let (pairs, pixel) = (output.pairs(), y * output.width + x);
    let channels = output.channels - first;
    if CHANNELS > 1 && !output.narrow().is_empty() {
        let places = &mut output.narrow_mut()[pixel * pairs + first / 2..];
        let (values, _) = values.as_chunks::<2>();
        for (place, [left, right]) in places.iter_mut().zip(values).take(channels.div_ceil(2)) {
            for (place, (left, right)) in place.0.iter_mut().zip(left.iter().zip(right)) {
                *place = [*left as i16, *right as i16];
            }
        }
        return;
    }
    for (index, values) in values.iter().enumerate().take(channels) {
        output.set(y, x, first + index, *values);
    }
}
