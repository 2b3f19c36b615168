//! From accumulators to output values, for all images.

use super::tensor::{IMAGES, Lanes};
use crate::arithmetic::Affine;

/// The parameters of one output channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finish {
    pub(super) affine: Affine,
    /// Of what is added before rounding.
    pub(super) addend_multiplier: i32,
}

impl Finish {
    /// `clamp((multiplier * sum + addend_multiplier * addend + bias) >> shift, low, high)`.
    #[inline(always)]
    pub(super) fn values(
        &self,
        sums: &Lanes,
        addend: Option<&Lanes>,
        [low, high]: [i32; 2],
    ) -> Lanes {
        let (low, high) = (i64::from(low), i64::from(high));
        let multiplier = i64::from(self.affine.multiplier);
        let shift = u32::from(self.affine.shift);
        let mut exact = [self.affine.bias; IMAGES];
        for (exact, sum) in exact.iter_mut().zip(sums) {
            *exact = exact.wrapping_add(multiplier.wrapping_mul((*sum).into()));
        }
        if let Some(addend) = addend {
            let multiplier = i64::from(self.addend_multiplier);
            for (exact, value) in exact.iter_mut().zip(addend) {
                *exact = exact.wrapping_add(multiplier.wrapping_mul((*value).into()));
            }
        }
        exact.map(|exact| exact.wrapping_shr(shift).max(low).min(high) as i32)
    }
}
