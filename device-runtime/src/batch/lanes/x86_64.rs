//! Vectors of x86-64.
//!
//! Products of 16-bit numbers are at most 2^30 in size and two of them fit 32 bits but for
//! `2 * (-2^15)^2`, which wraps as in the definition.
#![expect(unsafe_code, reason = "vector instructions")]

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{
    __m256i, __m512i, _mm256_add_epi32, _mm256_load_si256, _mm256_madd_epi16, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm512_dpbusd_epi32, _mm512_dpwssd_epi32, _mm512_load_si512,
    _mm512_set1_epi32, _mm512_setzero_si512,
};

use super::Vectors;
use crate::batch::operators::{self, Run};
use crate::batch::plan::StepKind;
use crate::batch::tensor::{IMAGES, Pair, Quad};

pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
}

pub(super) fn has_avx512_vnni() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
}

/// Must only be called where [`has_avx2`] holds.
pub(super) fn execute_avx2(kind: &StepKind, run: Run<'_>) {
    #[target_feature(enable = "avx2")]
    fn compiled(kind: &StepKind, run: Run<'_>) {
        operators::execute::<Avx2>(kind, run);
    }
    // SAFETY: the processor has these instructions, as the caller has made sure.
    unsafe { compiled(kind, run) }
}

/// Must only be called where [`has_avx512_vnni`] holds.
pub(super) fn execute_avx512_vnni(kind: &StepKind, run: Run<'_>) {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn compiled(kind: &StepKind, run: Run<'_>) {
        operators::execute::<Avx512Vnni>(kind, run);
    }
    // SAFETY: the processor has these instructions, as the caller has made sure.
    unsafe { compiled(kind, run) }
}

/// The two 16-bit numbers as one of 32.
const fn joined([first, second]: [i16; 2]) -> i32 {
    (first as u16 as u32 | (second as u16 as u32) << 16) as i32
}

#[derive(Debug, Clone, Copy)]
struct Avx2;

impl Vectors for Avx2 {
    type Sums = [__m256i; 2];
    // 16 registers: 4 channels x 2 halves of sums, 2 halves of a pair, weights.
    const PIXELS: usize = 1;

    #[inline(always)]
    fn zero() -> Self::Sums {
        // SAFETY: only called within functions for processors that have AVX2.
        unsafe { [_mm256_setzero_si256(); 2] }
    }

    #[inline(always)]
    fn multiply_add(sums: Self::Sums, pair: &Pair, weights: [i16; 2]) -> Self::Sums {
        let halves: *const __m256i = std::ptr::from_ref(pair).cast();
        // SAFETY: only called within functions for processors that have AVX2; a pair is two vectors
        // long and aligned to 64 bytes.
        unsafe {
            let weights = _mm256_set1_epi32(joined(weights));
            let add = |sums, half| {
                let values = _mm256_load_si256(halves.add(half));
                _mm256_add_epi32(sums, _mm256_madd_epi16(values, weights))
            };
            [add(sums[0], 0), add(sums[1], 1)]
        }
    }

    #[inline(always)]
    fn to_array(sums: Self::Sums) -> [i32; IMAGES] {
        // SAFETY: both are 64 bytes of plain numbers.
        unsafe { std::mem::transmute(sums) }
    }
}

#[derive(Debug, Clone, Copy)]
struct Avx512Vnni;

impl Vectors for Avx512Vnni {
    type Sums = __m512i;
    // 32 registers: 4 channels x 4 pixels of sums, 4 pairs, weights.
    const PIXELS: usize = 4;

    #[inline(always)]
    fn zero() -> Self::Sums {
        // SAFETY: only called within functions for processors that have AVX-512.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn multiply_add(sums: Self::Sums, pair: &Pair, weights: [i16; 2]) -> Self::Sums {
        // SAFETY: only called within functions for processors that have AVX-512 with VNNI; a pair
        // is one vector long and aligned to 64 bytes.
        unsafe {
            let values = _mm512_load_si512(std::ptr::from_ref(pair).cast());
            _mm512_dpwssd_epi32(sums, values, _mm512_set1_epi32(joined(weights)))
        }
    }

    #[inline(always)]
    fn multiply_add_quad(sums: Self::Sums, quad: &Quad, weights: [i8; 4]) -> Self::Sums {
        let weights = i32::from_le_bytes(weights.map(|weight| weight as u8));
        // SAFETY: only called within functions for processors that have AVX-512 with VNNI; a quad
        // is one vector long and aligned to 64 bytes.
        unsafe {
            let codes = _mm512_load_si512(std::ptr::from_ref(quad).cast());
            _mm512_dpbusd_epi32(sums, codes, _mm512_set1_epi32(weights))
        }
    }

    #[inline(always)]
    fn to_array(sums: Self::Sums) -> [i32; IMAGES] {
        // SAFETY: both are 64 bytes of plain numbers.
        unsafe { std::mem::transmute(sums) }
    }
}
