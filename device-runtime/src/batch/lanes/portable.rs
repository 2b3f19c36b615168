//! The definition, in plain loops.

use super::Vectors;
use crate::batch::tensor::{IMAGES, Pair};

/// No instructions in particular.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

impl Vectors for Portable {
    type Sums = [i32; IMAGES];
    const PIXELS: usize = 1;

    #[inline(always)]
    fn zero() -> Self::Sums {
        [0; IMAGES]
    }

    #[inline(always)]
    fn multiply_add(mut sums: Self::Sums, pair: &Pair, weights: [i16; 2]) -> Self::Sums {
        let weights = weights.map(i32::from);
        for (sum, [first, second]) in sums.iter_mut().zip(pair.0) {
            let products = i32::from(first)
                .wrapping_mul(weights[0])
                .wrapping_add(i32::from(second).wrapping_mul(weights[1]));
            *sum = sum.wrapping_add(products);
        }
        sums
    }

    #[inline(always)]
    fn to_array(sums: Self::Sums) -> [i32; IMAGES] {
        sums
    }
}
