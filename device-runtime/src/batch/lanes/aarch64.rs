//! Vectors of AArch64.
#![expect(unsafe_code, reason = "vector instructions")]

use std::arch::aarch64::{
    int16x8_t, int32x4_t, vaddq_s32, vdupq_n_s32, vget_low_s16, vld1q_s16, vmull_high_s16,
    vmull_s16, vpaddq_s32, vreinterpretq_s16_s32,
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
        let joined = i32::from(first as u16) | i32::from(second) << 16;
        // SAFETY: only called within functions for processors that have NEON; a pair holds
        // `2 * IMAGES` numbers, 8 of which are loaded for each of the `IMAGES / 4` vectors of sums.
        unsafe {
            let weights: int16x8_t = vreinterpretq_s16_s32(vdupq_n_s32(joined));
            for (index, sums) in sums.iter_mut().enumerate() {
                let values = vld1q_s16(values.add(2 * LANES * index));
                let low = vmull_s16(vget_low_s16(values), vget_low_s16(weights));
                let high = vmull_high_s16(values, weights);
                *sums = vaddq_s32(*sums, vpaddq_s32(low, high));
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
