//! Blur, compression and loss of resolution.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageFormat};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::Image;

/// Taps on each side of the middle.
const REACH: isize = 4;

/// Gaussian blur, mirrored at the borders.
pub(super) fn gaussian(image: &mut Image, deviation: f32) {
    let weights = (-REACH..=REACH).map(|tap| normal(tap as f32, deviation));
    let weights = normalized(weights);
    let taps = || (-REACH..=REACH).zip(&weights);
    image.values = image.with(|y, x, channel| {
        let row = |(tap, weight): (isize, &f32)| {
            image.get(y, mirrored(x as isize + tap, image.width), channel) * weight
        };
        taps().map(row).sum()
    });
    image.values = image.with(|y, x, channel| {
        let column = |(tap, weight): (isize, &f32)| {
            image.get(mirrored(y as isize + tap, image.height), x, channel) * weight
        };
        taps().map(column).sum()
    });
}

/// A one-sided Gaussian along a random direction; borders are repeated.
pub(super) fn motion(image: &mut Image, radius: usize, deviation: f32, rng: &mut ChaCha8Rng) {
    let angle = rng.random_range(-45f32..45.0).to_radians();
    let taps = 2 * radius + 1;
    let weights = normalized((0..taps).map(|tap| normal(tap as f32, deviation)));
    let offset = |tap: usize, part: f32| (tap as f32 * part - 0.5).ceil() as isize;
    let clamped = |at: isize, length: usize| at.clamp(0, length as isize - 1) as usize;
    image.values = image.with(|y, x, channel| {
        let tap = |(tap, weight): (usize, &f32)| {
            let y = clamped(y as isize + offset(tap, angle.sin()), image.height);
            let x = clamped(x as isize + offset(tap, angle.cos()), image.width);
            image.get(y, x, channel) * weight
        };
        weights.iter().enumerate().map(tap).sum()
    });
}

fn normal(distance: f32, deviation: f32) -> f32 {
    (-distance * distance / (2.0 * deviation * deviation)).exp()
}

fn normalized(weights: impl Iterator<Item = f32>) -> Vec<f32> {
    let weights: Vec<f32> = weights.collect();
    let sum = weights.iter().sum::<f32>();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// Mirrored at the middle of the first and of the last value, as often as it takes.
fn mirrored(at: isize, length: usize) -> usize {
    let period = 2 * (length as isize - 1).max(1);
    let at = at.rem_euclid(period);
    at.min(period - at).min(length as isize - 1) as usize
}

/// Compresses images of one or three channels; others stay as they are.
pub(super) fn jpeg(image: &mut Image, quality: u8) {
    let colour = match image.channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        _ => return,
    };
    let mut file = Vec::new();
    let (width, height) = (image.width as u32, image.height as u32);
    let mut encoder = JpegEncoder::new_with_quality(&mut file, quality);
    let encoded = encoder.encode(&image.bytes(), width, height, colour);
    // Only sizes beyond those of JPEG cannot be encoded.
    let decoded =
        encoded.and_then(|()| image::load_from_memory_with_format(&file, ImageFormat::Jpeg));
    let Ok(decoded) = decoded else {
        tracing::warn!(
            width,
            height,
            "an image that JPEG cannot hold stays as it is"
        );
        return;
    };
    let bytes = match image.channels {
        1 => decoded.into_luma8().into_raw(),
        _ => decoded.into_rgb8().into_raw(),
    };
    image.values = bytes.iter().map(|byte| f32::from(*byte) / 255.0).collect();
}

/// Means over boxes, spread out again.
pub(super) fn resolution(image: &mut Image, share: f32) {
    let small = |length: usize| ((length as f32 * share) as usize).max(1);
    let (rows, columns) = (small(image.height), small(image.width));
    image.values = image.with(|y, x, channel| {
        let rows = window(y, rows, image.height);
        let columns = window(x, columns, image.width);
        let count = rows.len() * columns.len();
        let places = rows.flat_map(|y| columns.clone().map(move |x| (y, x)));
        let sum = places.map(|(y, x)| image.get(y, x, channel)).sum::<f32>();
        sum / count.max(1) as f32
    });
}

/// The values of a line of `length` whose mean stands at `at` once it went through `small` values.
fn window(at: usize, small: usize, length: usize) -> std::ops::Range<usize> {
    let scale = length as f32 / small as f32;
    let box_index = (((at as f32 + 0.5) / scale) as usize).min(small - 1);
    let centre = (box_index as f32 + 0.5) * scale;
    let first = (centre - scale / 2.0 + 0.5).max(0.0) as usize;
    let end = ((centre + scale / 2.0 + 0.5) as usize).min(length);
    first.min(end - 1)..end
}
