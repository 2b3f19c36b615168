//! Windows of an image, reduced to one value per channel.

use core::ops::Range;

use super::elements::{Image, ImageMut};
use crate::arithmetic::{Affine, clamp};

/// Size, step and offset of the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Rows and columns of a window.
    pub size: [u8; 2],
    /// Step in rows and columns.
    pub stride: [u8; 2],
    /// Rows above and columns left of the image that the first window starts at.
    pub padding: [u8; 2],
}

impl Windows {
    /// Rows (`axis` 0) or columns (1) of an image of `length` that lie in window `index`.
    pub(crate) fn range(&self, axis: usize, index: usize, length: usize) -> Range<usize> {
        let of = |pair: &[u8; 2]| pair.get(axis).copied().map_or(0, usize::from);
        let start = index * of(&self.stride);
        let end = (start + of(&self.size)).saturating_sub(of(&self.padding));
        start.saturating_sub(of(&self.padding))..end.min(length)
    }
}

/// Largest value of each window; what lies outside the image never wins.
pub fn max(input: &Image<'_>, windows: &Windows, output: &mut ImageMut<'_>) {
    reduce(input, windows, output, i32::MIN, i32::max, |value| value);
}

/// Sum over each window.
pub fn sum(input: &Image<'_>, windows: &Windows, output: &mut ImageMut<'_>) {
    reduce(input, windows, output, 0, i32::wrapping_add, |value| value);
}

/// `clamp((multiplier * sum + bias) >> shift, low, high)` of the sum over each window.
pub fn average(
    input: &Image<'_>,
    windows: &Windows,
    affine: &Affine,
    [low, high]: [i32; 2],
    output: &mut ImageMut<'_>,
) {
    reduce(input, windows, output, 0, i32::wrapping_add, |sum| {
        clamp(affine.apply(sum, 0), low, high)
    });
}

fn reduce(
    input: &Image<'_>,
    windows: &Windows,
    output: &mut ImageMut<'_>,
    initial: i32,
    fold: impl Fn(i32, i32) -> i32,
    finish: impl Fn(i32) -> i32,
) {
    let mut index = 0;
    for y in 0..output.height {
        let rows = windows.range(0, y, input.height);
        for x in 0..output.width {
            let columns = windows.range(1, x, input.width);
            for channel in 0..output.channels {
                let mut value = initial;
                for y in rows.clone() {
                    for x in columns.clone() {
                        value = fold(value, input.elements.get(input.pixel(y, x) + channel));
                    }
                }
                output.elements.set(index, finish(value));
                index += 1;
            }
        }
    }
}
