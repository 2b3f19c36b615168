//! The classifier.

use super::elements::{Elements, ElementsMut};
use super::parameters::{Affines, Rows};
use crate::arithmetic::saturate_i32;

/// Taps that are unpacked at a time; whole bytes of codes at every width.
const CHUNK: usize = 32;

/// `saturate_i32((multiplier * acc + bias) >> shift)` for each of `classes`, with accumulators of
/// 64 bits; element `i` of `features` is tap `i`.
pub fn run(
    features: &Elements<'_>,
    weights: &Rows<'_>,
    affines: &Affines<'_>,
    classes: usize,
    output: &mut ElementsMut<'_>,
) {
    for class in 0..classes {
        let sum = dot(features, weights, class);
        let logit = saturate_i32(affines.get(class).apply_wide(sum));
        output.set(class, logit);
    }
}

fn dot(features: &Elements<'_>, weights: &Rows<'_>, class: usize) -> i64 {
    let mut unpacked = [0; CHUNK];
    let mut sum = 0i64;
    for start in (0..weights.taps).step_by(CHUNK) {
        let count = CHUNK.min(weights.taps - start);
        weights.unpack_part(class, start, unpacked.get_mut(..count).unwrap_or_default());
        for (index, &weight) in (start..).zip(unpacked.iter().take(count)) {
            let product = i64::from(weight).wrapping_mul(features.get(index).into());
            sum = sum.wrapping_add(product);
        }
    }
    sum
}
