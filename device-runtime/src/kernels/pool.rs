//! Windows of an image, reduced to one value per channel.

use core::ops::Range;

use super::elements::{Elements, Image, ImageMut};
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
    reduce::<Largest>(input, windows, output, &|value| value);
}

/// Sum over each window.
pub fn sum(input: &Image<'_>, windows: &Windows, output: &mut ImageMut<'_>) {
    reduce::<Total>(input, windows, output, &|value| value);
}

/// `clamp((multiplier * sum + bias) >> shift, low, high)` of the sum over each window.
pub fn average(
    input: &Image<'_>,
    windows: &Windows,
    affine: &Affine,
    [low, high]: [i32; 2],
    output: &mut ImageMut<'_>,
) {
    reduce::<Total>(input, windows, output, &|sum| {
        clamp(affine.apply(sum, 0), low, high)
    });
}

/// What becomes of a window.
trait Reduction {
    /// Of no elements.
    const INITIAL: i32;

    fn fold(result: i32, element: i32) -> i32;

    /// The result for values out of that for `count` codes.
    fn shift(result: i32, zero_point: i32, count: usize) -> i32;
}

struct Largest;

impl Reduction for Largest {
    const INITIAL: i32 = i32::MIN;

    fn fold(result: i32, element: i32) -> i32 {
        result.max(element)
    }

    fn shift(result: i32, zero_point: i32, _: usize) -> i32 {
        result.wrapping_add(zero_point)
    }
}

struct Total;

impl Reduction for Total {
    const INITIAL: i32 = 0;

    fn fold(result: i32, element: i32) -> i32 {
        result.wrapping_add(element)
    }

    fn shift(result: i32, zero_point: i32, count: usize) -> i32 {
        result.wrapping_add(zero_point.wrapping_mul(count as i32))
    }
}

/// Channels that are reduced together.
const CHANNELS: usize = 4;

fn reduce<R: Reduction>(
    input: &Image<'_>,
    windows: &Windows,
    output: &mut ImageMut<'_>,
    finish: &dyn Fn(i32) -> i32,
) {
    let channels = output.channels;
    for y in 0..output.height {
        let rows = windows.range(0, y, input.height);
        for x in 0..output.width {
            let window = [rows.clone(), windows.range(1, x, input.width)];
            let pixel = (y * output.width + x) * channels;
            let mut first = 0;
            while let Some(results) = several::<R>(input, &window, first) {
                for (channel, result) in (first..).zip(results) {
                    output.elements.set(pixel + channel, finish(result));
                }
                first += CHANNELS;
            }
            for channel in first..channels {
                let result = one::<R>(input, &window, channel);
                output.elements.set(pixel + channel, finish(result));
            }
        }
    }
}

/// The channels from `first` on; `None` if there are not that many, or they are not codes.
fn several<R: Reduction>(
    input: &Image<'_>,
    [rows, columns]: &[Range<usize>; 2],
    first: usize,
) -> Option<[i32; CHANNELS]> {
    let Elements::Code8 { codes, zero_point } = input.elements else {
        return None;
    };
    if first + CHANNELS > input.channels {
        return None;
    }
    let mut results = [R::INITIAL; CHANNELS];
    for y in rows.clone() {
        let from = input.pixel(y, columns.start) + first;
        let pixels = codes.get(from..).unwrap_or_default();
        for pixel in pixels.chunks(input.channels).take(columns.len()) {
            // The last pixel of an image ends with its channels, so that none is left out.
            let codes = pixel.first_chunk::<CHANNELS>();
            for (result, &code) in results.iter_mut().zip(codes.into_iter().flatten()) {
                *result = R::fold(*result, code.into());
            }
        }
    }
    let count = rows.len() * columns.len();
    Some(results.map(|result| R::shift(result, zero_point, count)))
}

fn one<R: Reduction>(
    input: &Image<'_>,
    [rows, columns]: &[Range<usize>; 2],
    channel: usize,
) -> i32 {
    let mut result = R::INITIAL;
    for y in rows.clone() {
        for x in columns.clone() {
            result = R::fold(result, input.elements.get(input.pixel(y, x) + channel));
        }
    }
    result
}
