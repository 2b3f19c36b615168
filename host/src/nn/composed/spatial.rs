//! Zeros around and between pixels, and every so-manieth pixel.

use candle_core::Tensor;

use crate::nn::Result;

/// Rows and columns of zeros on each side; negative ones are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Margins {
    /// Above and on the left.
    pub(super) before: [isize; 2],
    /// Below and on the right.
    pub(super) after: [isize; 2],
}

impl Margins {
    /// The amount of zeros, if it is the same on all sides.
    pub(super) fn uniform(&self) -> Option<usize> {
        let amount = self.before[0];
        let same = self.before == [amount; 2] && self.after == [amount; 2];
        usize::try_from(amount).ok().filter(|_| same)
    }

    /// `image` with these margins.
    pub(super) fn around(&self, image: &Tensor) -> Result<Tensor> {
        let mut image = image.clone();
        for axis in 0..2 {
            let (before, after) = (self.before[axis], self.after[axis]);
            let zeros = |amount: isize| usize::try_from(amount).unwrap_or(0);
            let (cut_before, cut_after) = (zeros(-before), zeros(-after));
            let dim = axis + 2;
            let kept = image.dim(dim)?.saturating_sub(cut_before + cut_after);
            image = image.narrow(dim, cut_before, kept)?.pad_with_zeros(
                dim,
                zeros(before),
                zeros(after),
            )?;
        }
        Ok(image)
    }
}

/// Every pixel followed by zeros, in rows and columns, so that pixels are `stride` apart.
pub(super) fn spread(image: &Tensor, stride: [usize; 2]) -> Result<Tensor> {
    let (batch, channels, height, width) = image.dims4()?;
    let [rows, columns] = stride;
    let image = image
        .reshape((batch, channels, height * width, 1))?
        .pad_with_zeros(3, 0, columns - 1)?
        .reshape((batch, channels, height, 1, width * columns))?
        .pad_with_zeros(3, 0, rows - 1)?;
    Ok(image.reshape((batch, channels, height * rows, width * columns))?)
}

/// `count` rows and columns that are `stride` apart, from `first` on: a view.
pub(super) fn sample(
    image: &Tensor,
    first: [usize; 2],
    stride: [usize; 2],
    count: [usize; 2],
) -> Result<Tensor> {
    let mut image = image.clone();
    for axis in 0..2 {
        let span = (count[axis] - 1) * stride[axis] + 1;
        let along = image.narrow(axis + 2, first[axis], span)?;
        image = if stride[axis] == 1 {
            along
        } else {
            along.unfold(axis + 2, 1, stride[axis])?.squeeze(4)?
        };
    }
    Ok(image)
}
