//! Fewer, more or other pixels without arithmetic.

use candle_core::Tensor;

use super::spatial::{Margins, sample, spread};
use crate::nn::{Error, Result};

fn image_sizes(operator: &'static str, shape: &[usize]) -> Result<[usize; 4]> {
    shape
        .try_into()
        .map_err(|_| Error::shape(operator, "an image", shape))
}

pub(super) fn upsample(input: &Tensor, factor: usize) -> Result<Tensor> {
    let [_, _, height, width] = image_sizes("upsample", input.dims())?;
    Ok(input.upsample_nearest2d(height * factor, width * factor)?)
}

/// Sum over each square.
pub(super) fn upsample_backward(
    input_shape: &[usize],
    factor: usize,
    gradient: &Tensor,
) -> Result<Tensor> {
    let [batch, channels, height, width] = image_sizes("upsample", input_shape)?;
    let squares = gradient.reshape(&[batch * channels * height, factor, width, factor][..])?;
    Ok(squares.sum((1, 3))?.reshape(input_shape)?)
}

pub(super) fn subsample_pad(
    input: &Tensor,
    stride: usize,
    front: usize,
    back: usize,
) -> Result<Tensor> {
    let [_, _, height, width] = image_sizes("subsample_pad", input.dims())?;
    let count = [height, width].map(|size| size.div_ceil(stride));
    let pixels = sample(input, [0, 0], [stride; 2], count)?.contiguous()?;
    Ok(pixels.pad_with_zeros(1, front, back)?)
}

pub(super) fn subsample_pad_backward(
    input_shape: &[usize],
    stride: usize,
    front: usize,
    gradient: &Tensor,
) -> Result<Tensor> {
    let [_, channels, height, width] = image_sizes("subsample_pad", input_shape)?;
    let spread = spread(&gradient.narrow(1, front, channels)?, [stride; 2])?;
    let [_, _, rows, columns] = image_sizes("subsample_pad", spread.dims())?;
    let cut = Margins {
        before: [0, 0],
        after: [
            height as isize - rows as isize,
            width as isize - columns as isize,
        ],
    };
    cut.around(&spread)
}
