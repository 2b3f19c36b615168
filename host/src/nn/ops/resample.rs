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
    for (image, source) in output
        .chunks_exact_mut(wide * rows * columns)
        .zip(x.chunks_exact(channels * height * width))
    {
        let inner = &mut image[front * rows * columns..][..channels * rows * columns];
        for (index, value) in inner.iter_mut().enumerate() {
            let (channel, y, x) = (
                index / (rows * columns),
                index / columns % rows,
                index % columns,
            );
            *value = source[(channel * height + y * stride) * width + x * stride];
        }
    }
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
    for (image, source) in output
        .chunks_exact_mut(channels * height * width)
        .zip(g.chunks_exact(wide * rows * columns))
    {
        let inner = &source[front * rows * columns..][..channels * rows * columns];
        for (index, value) in inner.iter().enumerate() {
            let (channel, y, x) = (
                index / (rows * columns),
                index / columns % rows,
                index % columns,
            );
            image[(channel * height + y * stride) * width + x * stride] = *value;
        }
    }
    tensor(output, input_shape)
}
