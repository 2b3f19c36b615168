//! The classifier.

use super::elements::{Elements, ElementsMut};
use super::parameters::{Affines, Rows};
use crate::arithmetic::saturate_i32;

/// Taps that are unpacked at a time; whole bytes of codes at every width.
const CHUNK: usize = 32;

/// Taps whose products are summed in 32 bits, where they fit.
const GROUP: usize = 8;
/// Features of this size fit: a weight without zero point is below 2^8.
const NARROW: u32 = 1 << 20;
const _: () = assert!(GROUP as u64 * 255 * (NARROW as u64) < 1 << 31);

/// `saturate_i32((multiplier * acc + bias) >> shift)` for each of `classes`, with accumulators of
/// 64 bits; element `i` of `features` is tap `i`.
pub fn run(
    features: &Elements<'_>,
    weights: &Rows<'_>,
    affines: &Affines<'_>,
    classes: usize,
    output: &mut ElementsMut<'_>,
) {
    let values = (0..weights.taps).map(|index| features.get(index));
    let (mut total, mut largest) = (0i64, 0);
    for value in values {
        total = total.wrapping_add(value.into());
        largest = value.unsigned_abs().max(largest);
    }
    for class in 0..classes {
        let zero_point = i64::from(weights.zero_point(class));
        let sum = match features {
            Elements::Value32(values) if largest <= NARROW => narrow_dot(values, weights, class),
            Elements::Code8 {
                codes,
                zero_point: 0,
            } => narrow_dot(codes, weights, class),
            _ => dot(features, weights, class),
        };
        let sum = sum.wrapping_add(zero_point.wrapping_mul(total));
        let logit = saturate_i32(affines.get(class).apply_wide(sum));
        output.set(class, logit);
    }
}

/// Sum of products with the codes of weights.
fn dot(features: &Elements<'_>, weights: &Rows<'_>, class: usize) -> i64 {
    let mut unpacked = [0; CHUNK];
    let mut sum = 0i64;
    for start in (0..weights.taps).step_by(CHUNK) {
        let count = CHUNK.min(weights.taps - start);
        weights.unpack_codes(class, start, unpacked.get_mut(..count).unwrap_or_default());
        for (index, &weight) in (start..).zip(unpacked.iter().take(count)) {
            let product = i64::from(weight).wrapping_mul(features.get(index).into());
            sum = sum.wrapping_add(product);
        }
    }
    sum
}

/// The same for `values` up to [`NARROW`] in size.
fn narrow_dot<T: Copy + Into<i32>>(values: &[T], weights: &Rows<'_>, class: usize) -> i64 {
    let mut unpacked = [0; CHUNK];
    let mut sum = 0i64;
    let mut start = 0;
    for values in values.chunks(CHUNK) {
        let count = values.len();
        let taps = unpacked.get_mut(..count).unwrap_or_default();
        weights.unpack_codes(class, start, taps);
        for (values, weights) in values.chunks(GROUP).zip(taps.chunks(GROUP)) {
            let mut group = 0i32;
            for (&value, &weight) in values.iter().zip(weights) {
                group = group.wrapping_add(value.into().wrapping_mul(weight.into()));
            }
            sum = sum.wrapping_add(group.into());
        }
        start += CHUNK;
    }
    sum
}
