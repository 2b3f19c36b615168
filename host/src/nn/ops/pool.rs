//! Windows of an image to one value each.

use candle_core::Tensor;
use rayon::prelude::*;

use super::slices::sum;
use crate::graph::Padding;
use crate::nn::values::{tensor, values};
use crate::nn::{Error, Result};

/// Rows and columns of windows, their step, and what surrounds the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Rows and columns of a window.
    pub size: [usize; 2],
    /// Step in rows and columns.
    pub stride: [usize; 2],
    /// Around the image.
    pub padding: Padding,
}

struct Sizes {
    planes: [usize; 2],
    input: [usize; 2],
    output: [usize; 2],
}

impl Windows {
    fn sizes(&self, shape: &[usize]) -> Result<Sizes> {
        let &[batch, channels, height, width] = shape else {
            return Err(Error::shape("pool", "an image", shape));
        };
        let padding = self.padding;
        let padded = [
            height + padding.top + padding.bottom,
            width + padding.left + padding.right,
        ];
        let fits = (0..2).all(|axis| {
            self.stride[axis] > 0 && self.size[axis] > 0 && padded[axis] >= self.size[axis]
        });
        if !fits {
            return Err(Error::shape(
                "pool",
                format!("at least {:?} pixels", self.size),
                shape,
            ));
        }
        let output = [0, 1].map(|axis| (padded[axis] - self.size[axis]) / self.stride[axis] + 1);
        Ok(Sizes {
            planes: [batch, channels],
            input: [height, width],
            output,
        })
    }

    /// Indices within a plane of the pixels of window `(oy, ox)` that lie in the image.
    fn pixels(&self, sizes: &Sizes, oy: usize, ox: usize) -> impl Iterator<Item = usize> + use<> {
        let range = |axis: usize, start: usize, before: usize| {
            let first = start * self.stride[axis];
            let end = (first + self.size[axis])
                .saturating_sub(before)
                .min(sizes.input[axis]);
            first.saturating_sub(before)..end
        };
        let (rows, columns) = (
            range(0, oy, self.padding.top),
            range(1, ox, self.padding.left),
        );
        let width = sizes.input[1];
        rows.flat_map(move |y| columns.clone().map(move |x| y * width + x))
    }
}

fn largest(plane: &[f32], pixels: impl Iterator<Item = usize>) -> Option<usize> {
    // The first one wins among equals, as in PyTorch.
    pixels.reduce(|best, pixel| {
        if plane[pixel] > plane[best] {
            pixel
        } else {
            best
        }
    })
}

/// Applies `function` to every window of every plane.
fn windows(
    input: &Tensor,
    windows: &Windows,
    function: impl Fn(&[f32], &mut dyn Iterator<Item = usize>) -> f32 + Sync,
) -> Result<Tensor> {
    let sizes = windows.sizes(input.dims())?;
    let x = values(input)?;
    let [height, width] = sizes.output;
    let mut output = vec![0f32; sizes.planes[0] * sizes.planes[1] * height * width];
    let planes = x.par_chunks(sizes.input[0] * sizes.input[1]);
    output
        .par_chunks_mut(height * width)
        .zip(planes)
        .for_each(|(output, plane)| {
            for (index, value) in output.iter_mut().enumerate() {
                let mut pixels = windows.pixels(&sizes, index / width, index % width);
                *value = function(plane, &mut pixels);
            }
        });
    tensor(output, &[sizes.planes[0], sizes.planes[1], height, width])
}

/// Hands every window's gradient to `function`, which adds it to the plane's.
fn windows_backward(
    input: &Tensor,
    windows: &Windows,
    gradient: &Tensor,
    function: impl Fn(&[f32], &mut [f32], &mut dyn Iterator<Item = usize>, f32) + Sync,
) -> Result<Tensor> {
    let sizes = windows.sizes(input.dims())?;
    let (x, g) = (values(input)?, values(gradient)?);
    let [height, width] = sizes.output;
    let plane_size = sizes.input[0] * sizes.input[1];
    let mut output = vec![0f32; x.len()];
    let planes = x.par_chunks(plane_size).zip(g.par_chunks(height * width));
    output
        .par_chunks_mut(plane_size)
        .zip(planes)
        .for_each(|(output, (plane, gradient))| {
            for (index, &gradient) in gradient.iter().enumerate() {
                let mut pixels = windows.pixels(&sizes, index / width, index % width);
                function(plane, output, &mut pixels, gradient);
            }
        });
    tensor(output, input.dims())
}

/// Largest value of each window; padding never wins.
///
/// # Errors
/// When the window is larger than the image.
pub fn max(input: &Tensor, size: &Windows) -> Result<Tensor> {
    windows(input, size, |plane, pixels| {
        largest(plane, pixels).map_or(f32::NEG_INFINITY, |pixel| plane[pixel])
    })
}

/// Gradient of [`max`]: goes to the first of the largest pixels.
///
/// # Errors
/// When the shapes do not fit.
pub fn max_backward(input: &Tensor, size: &Windows, gradient: &Tensor) -> Result<Tensor> {
    windows_backward(input, size, gradient, |plane, output, pixels, gradient| {
        if let Some(pixel) = largest(plane, pixels) {
            output[pixel] += gradient;
        }
    })
}

/// Mean of each window.
///
/// # Errors
/// When the window is larger than the image.
pub fn average(input: &Tensor, size: &Windows) -> Result<Tensor> {
    let area = (size.size[0] * size.size[1]) as f32;
    windows(input, size, |plane, pixels| {
        pixels.map(|pixel| plane[pixel]).sum::<f32>() / area
    })
}

/// Gradient of [`average`].
///
/// # Errors
/// When the shapes do not fit.
pub fn average_backward(input: &Tensor, size: &Windows, gradient: &Tensor) -> Result<Tensor> {
    let area = (size.size[0] * size.size[1]) as f32;
    windows_backward(input, size, gradient, |_, output, pixels, gradient| {
        pixels.for_each(|pixel| output[pixel] += gradient / area);
    })
}

/// Mean over the image: `[batch, channels]`.
///
/// # Errors
/// When the input is no image.
pub fn global_average(input: &Tensor) -> Result<Tensor> {
    let &[batch, channels, height, width] = input.dims() else {
        return Err(Error::shape(
            "global average pool",
            "an image",
            input.dims(),
        ));
    };
    let x = values(input)?;
    let planes = x.chunks_exact(height * width);
    let output = planes
        .map(|plane| sum(plane) / (height * width) as f32)
        .collect();
    tensor(output, &[batch, channels])
}

/// Gradient of [`global_average`].
///
/// # Errors
/// When the shapes do not fit.
pub fn global_average_backward(input_shape: &[usize], gradient: &Tensor) -> Result<Tensor> {
    let area = input_shape.iter().skip(2).product::<usize>();
    let g = values(gradient)?;
    let output = g
        .iter()
        .flat_map(|g| std::iter::repeat_n(g / area as f32, area))
        .collect();
    tensor(output, input_shape)
}
