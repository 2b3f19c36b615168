//! Sum of two tensors, requantized once.

mod tuned;

use super::Kernels;
use super::elements::{Elements, ElementsMut};
use crate::arithmetic::{Affine, clamp};

/// An operand.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a> {
    /// Its elements, or `None` if the output lies in their place and still holds them.
    pub elements: Option<Elements<'a>>,
    /// Width of its codes, if it has any.
    pub bits: Option<u8>,
}

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

impl Add {
    /// The output's value for those of the operands.
    fn value(&self, left: i32, right: i32) -> i32 {
        let right = i64::from(self.right_multiplier).wrapping_mul(right.into());
        clamp(self.affine.apply(left, right), self.low, self.high)
    }
}

/// Computes `count` elements of `output` with the fastest of `kernels` that suits the operands.
pub fn run(
    kernels: Kernels,
    add: &Add,
    left: &Operand<'_>,
    right: &Operand<'_>,
    count: usize,
    output: &mut ElementsMut<'_>,
) {
    if kernels == Kernels::Tuned && tuned::run(add, [left, right], count, output) {
        return;
    }
    for index in 0..count {
        let value = |operand: &Operand<'_>| match operand.elements {
            Some(elements) => elements.get(index),
            None => output.as_elements().get(index),
        };
        let sum = add.value(value(left), value(right));
        output.set(index, sum);
    }
}
