//! Windows of an image to one value each.

use candle_core::{DType, Tensor};

use super::spatial::{Margins, sample, spread};
use crate::nn::ops::pool::Windows;
use crate::nn::{Error, Result};

/// An image prepared for windows.
struct Prepared {
    /// With what surrounds it.
    image: Tensor,
    /// Rows and columns of windows.
    count: [usize; 2],
}

fn prepare(input: &Tensor, windows: &Windows, around: f32) -> Result<Prepared> {
    if input.rank() != 4 {
        return Err(Error::shape("pool", "an image", input.dims()));
    }
    let padding = windows.padding;
    let sides = [(padding.top, padding.bottom), (padding.left, padding.right)];
    let mut image = input.clone();
    for (axis, (before, after)) in sides.into_iter().enumerate() {
        let dim = axis + 2;
        let margin = |amount: usize| -> Result<Option<Tensor>> {
            let mut shape = image.dims().to_vec();
            shape[dim] = amount;
            let full = || Tensor::full(around, shape, image.device());
            Ok((amount > 0).then(full).transpose()?)
        };
        let parts = [margin(before)?, Some(image.clone()), margin(after)?];
        let parts = parts.into_iter().flatten().collect::<Vec<_>>();
        image = Tensor::cat(&parts, dim)?;
        let fits = windows.stride[axis] > 0
            && windows.size[axis] > 0
            && image.dim(dim)? >= windows.size[axis];
        if !fits {
            let expected = format!("at least {:?} pixels", windows.size);
            return Err(Error::shape("pool", expected, input.dims()));
        }
    }
    let count =
        [0, 1].map(|axis| (image.dims()[axis + 2] - windows.size[axis]) / windows.stride[axis] + 1);
    Ok(Prepared { image, count })
}

/// Positions within a window, row by row.
fn taps(windows: &Windows) -> impl Iterator<Item = [usize; 2]> + use<> {
    let [rows, columns] = windows.size;
    (0..rows * columns).map(move |tap| [tap / columns, tap % columns])
}

/// Puts a value per window where `tap` of the window lies in the image of shape `shape`.
fn place(values: &Tensor, windows: &Windows, tap: [usize; 2], shape: &[usize]) -> Result<Tensor> {
    let spread = spread(values, windows.stride)?;
    let padding = [windows.padding.top, windows.padding.left];
    let before = [0, 1].map(|axis| tap[axis] as isize - padding[axis] as isize);
    let after = [0, 1]
        .map(|axis| shape[axis + 2] as isize - before[axis] - spread.dims()[axis + 2] as isize);
    Margins { before, after }.around(&spread)
}

pub(super) fn max(input: &Tensor, windows: &Windows) -> Result<Tensor> {
    let Prepared { image, .. } = prepare(input, windows, f32::NEG_INFINITY)?;
    let [[rows, columns], [down, right]] = [windows.size, windows.stride];
    Ok(image.max_pool2d_with_stride((rows, columns), (down, right))?)
}

/// Goes to the first of the largest pixels.
pub(super) fn max_backward(input: &Tensor, windows: &Windows, gradient: &Tensor) -> Result<Tensor> {
    let Prepared { image, count } = prepare(input, windows, f32::NEG_INFINITY)?;
    let largest = max(input, windows)?;
    let mut free = gradient.ones_like()?;
    let mut total = input.zeros_like()?;
    for tap in taps(windows) {
        let pixels = sample(&image, tap, windows.stride, count)?;
        let chosen = (pixels.eq(&largest)?.to_dtype(DType::F32)? * &free)?;
        free = (free - &chosen)?;
        let share = (chosen * gradient)?;
        total = (total + place(&share, windows, tap, input.dims())?)?;
    }
    Ok(total)
}

pub(super) fn average(input: &Tensor, windows: &Windows) -> Result<Tensor> {
    let Prepared { image, .. } = prepare(input, windows, 0.0)?;
    let [[rows, columns], [down, right]] = [windows.size, windows.stride];
    Ok(image.avg_pool2d_with_stride((rows, columns), (down, right))?)
}

pub(super) fn average_backward(
    input: &Tensor,
    windows: &Windows,
    gradient: &Tensor,
) -> Result<Tensor> {
    let share = (gradient / (windows.size[0] * windows.size[1]) as f64)?;
    taps(windows).try_fold(input.zeros_like()?, |total, tap| {
        Ok((total + place(&share, windows, tap, input.dims())?)?)
    })
}

pub(super) fn global_average(input: &Tensor) -> Result<Tensor> {
    if input.rank() != 4 {
        return Err(Error::shape(
            "global average pool",
            "an image",
            input.dims(),
        ));
    }
    Ok(input.flatten_from(2)?.mean(2)?)
}

pub(super) fn global_average_backward(input_shape: &[usize], gradient: &Tensor) -> Result<Tensor> {
    let area = input_shape.iter().skip(2).product::<usize>();
    let (batch, channels) = gradient.dims2()?;
    let share = (gradient / area as f64)?.reshape((batch, channels, 1, 1))?;
    Ok(share.broadcast_as(input_shape)?.contiguous()?)
}
