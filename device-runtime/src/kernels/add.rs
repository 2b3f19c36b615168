//! Sum of two tensors, requantized once.

use super::elements::{Elements, ElementsMut};
use crate::arithmetic::{Affine, clamp};

/// An operand: its elements, or `None` if the output lies in their place and still holds them.
pub type Operand<'a> = Option<Elements<'a>>;

/// `clamp((multiplier * left + right_multiplier * right + bias) >> shift)` per element.
#[derive(Debug, Clone, Copy)]
pub struct Add {
    /// Multiplier of the left operand, rounding bias and shift.
    pub affine: Affine,
    /// Multiplier of the right operand.
    pub right_multiplier: i32,
    /// Smallest output value.
    pub low: i32,
    /// Largest output value.
    pub high: i32,
}

/// Computes `count` elements of `output`.
pub fn run(
    add: &Add,
    left: Operand<'_>,
    right: Operand<'_>,
    count: usize,
    output: &mut ElementsMut<'_>,
) {
    for index in 0..count {
        let value = |operand: Operand<'_>| match operand {
            Some(elements) => elements.get(index),
            None => output.as_elements().get(index),
        };
        let right = i64::from(add.right_multiplier).wrapping_mul(value(right).into());
        let sum = add.affine.apply(value(left), right);
        output.set(index, clamp(sum, add.low, add.high));
    }
}
