//! Fewer, more or other pixels without arithmetic.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::nn::values::{tensor, values};
use crate::nn::{Error, Result};

/// Every pixel becomes a square of `factor` x `factor`.
///
/// # Errors
/// When the input is no image.
pub fn upsample(input: &Tensor, factor: usize) -> Result<Tensor> {
    let &[batch, channels, height, width] = input.dims() else {
        return Err(Error::shape("upsample", "an image", input.dims()));
    };
    let x = values(input)?;
    let mut output = vec![0f32; x.len() * factor * factor];
    let band = factor * factor * width;
    output
        .par_chunks_mut(band * height)
        .zip(x.par_chunks(width * height))
        .for_each(|(out, plane)| {
            for (band, row) in out.chunks_exact_mut(band).zip(plane.chunks_exact(width)) {
                let (first, others) = band.split_at_mut(factor * width);
                for (square, &value) in first.chunks_exact_mut(factor).zip(row) {
                    square.fill(value);
                }
                others
                    .chunks_exact_mut(factor * width)
                    .for_each(|line| line.copy_from_slice(first));
            }
        });
    tensor(output, &[batch, channels, height * factor, width * factor])
}

/// Gradient of [`upsample`]: the sum over each square.
///
/// # Errors
/// When the shapes do not fit.
pub fn upsample_backward(
    input_shape: &[usize],
    factor: usize,
    gradient: &Tensor,
) -> Result<Tensor> {
    let &[_, _, height, width] = input_shape else {
        return Err(Error::shape("upsample", "an image", input_shape));
    };
    let g = values(gradient)?;
    let mut output = vec![0f32; input_shape.iter().product()];
    let band = factor * factor * width;
    output
        .par_chunks_mut(width * height)
        .zip(g.par_chunks(band * height))
        .for_each(|(out, plane)| {
            for (row, band) in out.chunks_exact_mut(width).zip(plane.chunks_exact(band)) {
                for line in band.chunks_exact(factor * width) {
                    for (value, square) in row.iter_mut().zip(line.chunks_exact(factor)) {
                        *value += square.iter().sum::<f32>();
                    }
                }
            }
        });
    tensor(output, input_shape)
}

/// Every `stride`-th row and column, with `front` and `back` channels of zeros around the others.
///
/// # Errors
/// When the input is no image.
pub fn subsample_pad(input: &Tensor, stride: usize, front: usize, back: usize) -> Result<Tensor> {
    let &[batch, channels, height, width] = input.dims() else {
        return Err(Error::shape("subsample_pad", "an image", input.dims()));
    };
    let x = values(input)?;
    let (rows, columns) = (height.div_ceil(stride), width.div_ceil(stride));
    let wide = front + channels + back;
    let mut output = vec![0f32; batch * wide * rows * columns];
    let lines = output.par_chunks_exact_mut((rows * columns).max(1));
    lines.enumerate().for_each(|(index, plane)| {
        let (image, channel) = (index / wide, index % wide);
        let Some(channel) = channel.checked_sub(front).filter(|c| *c < channels) else {
            return;
        };
        let source = &x[(image * channels + channel) * height * width..][..height * width];
        let source_rows = source.chunks_exact(width).step_by(stride);
        for (row, source) in plane.chunks_exact_mut(columns).zip(source_rows) {
            for (value, source) in row.iter_mut().zip(source.iter().step_by(stride)) {
                *value = *source;
            }
        }
    });
    tensor(output, &[batch, wide, rows, columns])
}

/// Gradient of [`subsample_pad`].
///
/// # Errors
/// When the shapes do not fit.
pub fn subsample_pad_backward(
    input_shape: &[usize],
    stride: usize,
    front: usize,
    gradient: &Tensor,
) -> Result<Tensor> {
    let (&[_, channels, height, width], &[_, wide, rows, columns]) = (input_shape, gradient.dims())
    else {
        return Err(Error::shape("subsample_pad", "an image", input_shape));
    };
    let g = values(gradient)?;
    let mut output = vec![0f32; input_shape.iter().product()];
    let planes = output.par_chunks_exact_mut((height * width).max(1));
    planes.enumerate().for_each(|(index, plane)| {
        let channel = index / channels * wide + front + index % channels;
        let source = &g[channel * rows * columns..][..rows * columns];
        let plane_rows = plane.chunks_exact_mut(width).step_by(stride);
        for (row, source) in plane_rows.zip(source.chunks_exact(columns)) {
            for (value, source) in row.iter_mut().step_by(stride).zip(source) {
                *value = *source;
            }
        }
    });
    tensor(output, input_shape)
}
