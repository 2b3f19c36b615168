//! Vectors of AArch64.
//!
//! Products of 16-bit numbers are added up with SMLAL. The dot products of Armv8.2 take 8-bit
//! numbers, which values here are not: zero points are part of them.
#![expect(unsafe_code, reason = "vector instructions")]

use std::arch::aarch64::{
    int32x4_t, vdupq_n_s32, vget_low_s16, vld1q_s16, vmlal_high_n_s16, vmlal_n_s16, vuzp1q_s16,
    vuzp2q_s16,
};
use std::arch::is_aarch64_feature_detected;

use super::Vectors;
use crate::batch::operators::{self, Run};
use crate::batch::plan::StepKind;
use crate::batch::tensor::{IMAGES, Pair};

pub(super) fn has_neon() -> bool {
    is_aarch64_feature_detected!("neon")
}

/// Must only be called where [`has_neon`] holds.
pub(super) fn execute_neon(kind: &StepKind, run: Run<'_>) {
    #[target_feature(enable = "neon")]
    fn compiled(kind: &StepKind, run: Run<'_>) {
        operators::execute::<Neon>(kind, run);
    }
    // SAFETY: the processor has these instructions, as the caller has made sure.
    unsafe { compiled(kind, run) }
}

#[derive(Debug, Clone, Copy)]
struct Neon;

/// Images per vector of sums.
const LANES: usize = 4;

impl Vectors for Neon {
    type Sums = [int32x4_t; IMAGES / LANES];
    // 32 registers: 4 channels x 4 vectors of sums, a pair, its products, weights.
    const PIXELS: usize = 1;

    #[inline(always)]
    fn zero() -> Self::Sums {
        // SAFETY: only called within functions for processors that have NEON.
        unsafe { [vdupq_n_s32(0); IMAGES / LANES] }
    }

    #[inline(always)]
    fn multiply_add(mut sums: Self::Sums, pair: &Pair, [first, second]: [i16; 2]) -> Self::Sums {
        let values: *const i16 = std::ptr::from_ref(pair).cast();
        let (vectors, _) = sums.as_chunks_mut::<2>();
        for (index, [low, high]) in vectors.iter_mut().enumerate() {
            // SAFETY: only called within functions for processors that have NEON; a pair holds
            // `2 * IMAGES` numbers, 16 of which are loaded for every two vectors of sums.
            unsafe {
                let values = values.add(4 * LANES * index);
                let (left, right) = (vld1q_s16(values), vld1q_s16(values.add(2 * LANES)));
                // The same for all channels of a tile, where the compiler does it once.
                let (firsts, seconds) = (vuzp1q_s16(left, right), vuzp2q_s16(left, right));
                *low = vmlal_n_s16(*low, vget_low_s16(firsts), first);
                *high = vmlal_high_n_s16(*high, firsts, first);
                *low = vmlal_n_s16(*low, vget_low_s16(seconds), second);
                *high = vmlal_high_n_s16(*high, seconds, second);
            }
        }
        sums
    }

    #[inline(always)]
    fn to_array(sums: Self::Sums) -> [i32; IMAGES] {
        // SAFETY: both are 64 bytes of plain numbers.
        unsafe { std::mem::transmute(sums) }
    }
}
