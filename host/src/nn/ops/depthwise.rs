//! 3x3 convolutions in which every channel is a group of its own, and their gradients.
//!
//! They have too few multiplications per pixel to pay for another order of the whole image. A plane
//! is copied with zeros around it into a buffer that stays in the first-level cache, so that a
//! vector of neighbours may be read at any pixel:
//!
//! ```text
//! [row][column % stride][column / stride]
//! ```
//! In this order the pixels that neighbouring outputs multiply with one tap are neighbours whatever
//! the stride.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::conv2d::Geometry;
use super::instructions::arch;
use super::packed::lanes;
use crate::graph::Padding;

/// Rows and columns of the kernel.
const KERNEL: usize = 3;
const TAPS: usize = KERNEL * KERNEL;
/// Planes that one task works on at least.
const PLANES_PER_TASK: usize = 8;

/// Whether the convolution is one of these.
pub(super) fn applies(geometry: &Geometry) -> bool {
    geometry.groups == geometry.channels_in
        && geometry.groups == geometry.channels_out
        && geometry.kernel == [KERNEL, KERNEL]
}

/// `y = w * x + bias`, in the order of the image; `weight` has nine taps for every channel.
pub(super) fn forward(
    geometry: &Geometry,
    image: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let slide = Slide {
        channels: geometry.channels_in,
        input: geometry.input,
        padding: geometry.padding,
        stride: geometry.stride,
        output: geometry.output,
    };
    let mut output = vec![0f32; geometry.output_shape().iter().product()];
    slide.run(image, weight, bias, &mut output);
    output
}

/// Gradient with respect to the input: the gradient of the output under the turned kernel. `None`
/// where that is none of these convolutions, for a stride other than 1 and zeros beyond the
/// kernel's reach.
pub(super) fn backward_input(
    geometry: &Geometry,
    gradient: &[f32],
    weight: &[f32],
) -> Option<Vec<f32>> {
    let beside = |padding: usize| (KERNEL - 1).checked_sub(padding);
    let Padding {
        top,
        left,
        bottom,
        right,
    } = geometry.padding;
    let padding = Padding {
        top: beside(top)?,
        left: beside(left)?,
        bottom: beside(bottom)?,
        right: beside(right)?,
    };
    if geometry.stride != 1 {
        return None;
    }
    let slide = Slide {
        channels: geometry.channels_in,
        input: geometry.output,
        padding,
        stride: 1,
        output: geometry.input,
    };
    let (kernels, _) = weight.as_chunks::<TAPS>();
    let turned: Vec<f32> = kernels
        .iter()
        .flat_map(|kernel| kernel.iter().rev().copied())
        .collect();
    let [height, width] = geometry.input;
    let mut output = vec![0f32; geometry.batch * geometry.channels_in * height * width];
    slide.run(gradient, &turned, None, &mut output);
    Some(output)
}

/// Gradient with respect to the weight, nine taps for every channel.
pub(super) fn backward_weight(geometry: &Geometry, image: &[f32], gradient: &[f32]) -> Vec<f32> {
    let channels = geometry.channels_in;
    let area = |[height, width]: [usize; 2]| height * width;
    let mut total = vec![0f32; channels * TAPS];
    let (kernels, _) = total.as_chunks_mut::<TAPS>();
    kernels
        .par_iter_mut()
        .enumerate()
        .with_min_len(PLANES_PER_TASK)
        .for_each(|(channel, total)| {
            let mut input = Plane::new(geometry.input, geometry.padding, geometry.stride);
            let mut output = Plane::new(geometry.output, Padding::default(), 1);
            for sample in 0..geometry.batch {
                let index = sample * channels + channel;
                input.fill(&image[index * area(geometry.input)..][..area(geometry.input)]);
                output.fill(&gradient[index * area(geometry.output)..][..area(geometry.output)]);
                arch().dispatch(Products {
                    input: &input,
                    gradient: &output,
                    size: geometry.output,
                    total,
                });
            }
        });
    total
}

/// A kernel that slides over all planes.
struct Slide {
    channels: usize,
    /// Rows and columns read.
    input: [usize; 2],
    padding: Padding,
    stride: usize,
    /// Rows and columns written.
    output: [usize; 2],
}

impl Slide {
    fn run(&self, image: &[f32], weight: &[f32], bias: Option<&[f32]>, output: &mut [f32]) {
        let (kernels, _) = weight.as_chunks::<TAPS>();
        let area = self.input[0] * self.input[1];
        let planes = output.par_chunks_exact_mut((self.output[0] * self.output[1]).max(1));
        planes
            .enumerate()
            .with_min_len(PLANES_PER_TASK)
            .for_each_init(
                || Plane::new(self.input, self.padding, self.stride),
                |plane, (index, output)| {
                    plane.fill(&image[index * area..][..area]);
                    let channel = index % self.channels;
                    arch().dispatch(Sums {
                        plane,
                        kernel: &kernels[channel],
                        bias: bias.map_or(0.0, |bias| bias[channel]),
                        width: self.output[1],
                        output,
                    });
                },
            );
    }
}

/// A plane with zeros around it, in the order of this module.
struct Plane {
    /// Columns of the image.
    width: usize,
    padding: Padding,
    stride: usize,
    /// Numbers from a column to the one that is congruent to the next.
    pitch: usize,
    values: Vec<f32>,
}

impl Plane {
    fn new([height, width]: [usize; 2], padding: Padding, stride: usize) -> Self {
        let rows = height + padding.top + padding.bottom;
        let columns = width + padding.left + padding.right;
        // The last vector of a row may begin at its last pixel.
        let pitch = columns.div_ceil(stride) + KERNEL + lanes();
        Self {
            width,
            padding,
            stride,
            pitch,
            values: vec![0.0; rows * stride * pitch],
        }
    }

    fn fill(&mut self, image: &[f32]) {
        let (left, stride, pitch) = (self.padding.left, self.stride, self.pitch);
        let rows = self.values.chunks_exact_mut(stride * pitch);
        let lines = image.chunks_exact(self.width.max(1));
        for (row, line) in rows.skip(self.padding.top).zip(lines) {
            if stride == 1 {
                row[left..][..line.len()].copy_from_slice(line);
            } else {
                for (column, value) in (left..).zip(line) {
                    row[column % stride * pitch + column / stride] = *value;
                }
            }
        }
    }

    /// From the first pixel of row `row * stride + tap` on.
    fn row(&self, row: usize, tap: usize) -> &[f32] {
        &self.values[(row * self.stride + tap) * self.stride * self.pitch..]
    }

    /// Where in a row the pixels begin that tap `tap` of a line of the kernel is multiplied with.
    fn first(&self, tap: usize) -> usize {
        tap % self.stride * self.pitch + tap / self.stride
    }
}

#[inline(always)]
fn vector<S: Simd>(values: &[f32]) -> S::f32s {
    S::as_simd_f32s(&values[..S::F32_LANES]).0[0]
}

/// The weighted sums of a plane.
struct Sums<'a> {
    plane: &'a Plane,
    kernel: &'a [f32; TAPS],
    bias: f32,
    /// Columns written.
    width: usize,
    output: &'a mut [f32],
}

impl WithSimd for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let kernel = self.kernel.map(|weight| simd.splat_f32s(weight));
        let firsts: [usize; KERNEL] = std::array::from_fn(|tap| self.plane.first(tap));
        let lines = self.output.chunks_exact_mut(self.width.max(1));
        for (row, line) in lines.enumerate() {
            let rows: [&[f32]; KERNEL] = std::array::from_fn(|tap| self.plane.row(row, tap));
            for (block, output) in line.chunks_mut(S::F32_LANES).enumerate() {
                let mut sum = simd.splat_f32s(self.bias);
                for (row, kernel) in rows.iter().zip(kernel.as_chunks::<KERNEL>().0) {
                    for (first, weight) in firsts.iter().zip(kernel) {
                        let values = vector::<S>(&row[first + block * S::F32_LANES..]);
                        sum = simd.mul_add_f32s(*weight, values, sum);
                    }
                }
                simd.partial_store_f32s(output, sum);
            }
        }
    }
}

/// Adds the products of a plane and the gradient of what was computed from it to those of a kernel.
struct Products<'a> {
    input: &'a Plane,
    gradient: &'a Plane,
    /// Rows and columns of the gradient.
    size: [usize; 2],
    total: &'a mut [f32; TAPS],
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let firsts: [usize; KERNEL] = std::array::from_fn(|tap| self.input.first(tap));
        let mut sums = [simd.splat_f32s(0.0); TAPS];
        for row in 0..self.size[0] {
            let rows: [&[f32]; KERNEL] = std::array::from_fn(|tap| self.input.row(row, tap));
            let gradient = self.gradient.row(row, 0);
            // Behind the gradient's last column are zeros.
            for start in (0..self.size[1]).step_by(S::F32_LANES) {
                let factor = vector::<S>(&gradient[start..]);
                let (lines, _) = sums.as_chunks_mut::<KERNEL>();
                for (row, sums) in rows.iter().zip(lines) {
                    for (first, sum) in firsts.iter().zip(sums) {
                        let values = vector::<S>(&row[first + start..]);
                        *sum = simd.mul_add_f32s(factor, values, *sum);
                    }
                }
            }
        }
        for (total, sum) in self.total.iter_mut().zip(sums) {
            *total += simd.reduce_sum_f32s(sum);
        }
    }
}
