//! Vector instructions. All give the same sums, as sums of integers do not depend on their order.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use super::operators::{self, Run};
use super::plan::StepKind;
use super::tensor::{IMAGES, Pair, Quad};

/// One set of vector instructions.
pub(super) trait Vectors: Copy {
    /// 32-bit sums, one per image.
    type Sums: Copy;
    /// Output pixels that are computed together: as many as the registers hold.
    const PIXELS: usize;

    /// No products yet.
    fn zero() -> Self::Sums;

    /// `sums[i] + pair[i][0] * weights[0] + pair[i][1] * weights[1]` for every image `i`.
    fn multiply_add(sums: Self::Sums, pair: &Pair, weights: [i16; 2]) -> Self::Sums;

    /// `sums[i]` and the four products of codes of image `i` with `weights`.
    #[inline(always)]
    fn multiply_add_quad(sums: Self::Sums, quad: &Quad, weights: [i8; 4]) -> Self::Sums {
        let [first, second] = quad.pairs();
        let [a, b, c, d] = weights.map(i16::from);
        let sums = Self::multiply_add(sums, &first, [a, b]);
        Self::multiply_add(sums, &second, [c, d])
    }

    /// The sums, image after image.
    fn to_array(sums: Self::Sums) -> [i32; IMAGES];
}

/// Vector instructions that a processor may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// Whatever the compiler makes of plain loops for the least processor of the architecture.
    Portable,
    /// 256-bit vectors of x86-64.
    Avx2,
    /// 512-bit vectors of x86-64 with multiply-accumulate of 16-bit pairs.
    Avx512Vnni,
    /// 128-bit vectors of AArch64.
    Neon,
}

impl Instructions {
    /// Every set, the best last.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Neon, Self::Avx2, Self::Avx512Vnni];

    /// The best that this processor has.
    #[must_use]
    pub fn best() -> Self {
        let mut available = Self::ALL.into_iter().filter(|set| set.is_available());
        available.next_back().unwrap_or(Self::Portable)
    }

    /// Whether this processor has them.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86_64::has_avx2(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => x86_64::has_avx512_vnni(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => aarch64::has_neon(),
            _ => false,
        }
    }

    /// What a user calls them.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "AVX2",
            Self::Avx512Vnni => "AVX-512 VNNI",
            Self::Neon => "NEON",
        }
    }

    /// Whether four products of 8-bit numbers are as fast as two of 16-bit ones.
    pub(super) fn has_quads(self) -> bool {
        self == Self::Avx512Vnni
    }

    pub(super) fn or_portable(self) -> Self {
        if self.is_available() {
            self
        } else {
            Self::Portable
        }
    }

    /// Computes the output of one step. `self` must be [available](Self::is_available).
    pub(super) fn execute(self, kind: &StepKind, run: Run<'_>) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => x86_64::execute_avx2(kind, run),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => x86_64::execute_avx512_vnni(kind, run),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => aarch64::execute_neon(kind, run),
            _ => operators::execute::<portable::Portable>(kind, run),
        }
    }
}
