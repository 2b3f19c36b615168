//! Ranges of activations, re-estimated in integers.
//!
//! Moments usually bring activations back into the range that they were quantized with. Where many
//! still lie beyond it, a [`Histogram`] of the values before they are clamped says which other step
//! would lose least, and a [`Rescale`] gives the layer that computes them, and those that read
//! them, the multipliers that go with it. Codes, shifts and bounds stay as they are.

use crate::arithmetic::Affine;

use super::correction::{LARGEST_BIAS, LARGEST_MULTIPLIER};
use super::{rounded_quotient, rounded_shift};

/// Fraction bits of a factor.
const FACTOR_FRACTION: u32 = 24;
/// 2^(index / 8 - 1) times 2^24.
const FACTORS: [u32; 17] = [
    8_388_608, 9_147_842, 9_975_792, 10_878_679, 11_863_283, 12_937_002, 14_107_901, 15_384_775,
    16_777_216, 18_295_684, 19_951_585, 21_757_357, 23_726_566, 25_874_004, 28_215_802, 30_769_550,
    33_554_432,
];
/// Fraction bits of half a bin.
const ERROR_FRACTION: u32 = 8;

/// How often the values of a tensor whose codes go from 0 to `high` lie where, up to about twice
/// its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram {
    bins: [u32; Self::BINS],
    high: u8,
    /// A bin is `2^-exponent` codes wide.
    exponent: i8,
}

impl Histogram {
    /// Number of bins.
    pub const BINS: usize = 64;

    /// An empty one for codes up to `high`, 1 to 255.
    #[must_use]
    pub fn new(high: u8) -> Self {
        // The narrowest bins with which all of them reach at least twice as far as the codes.
        let bits = u8::BITS - high.saturating_sub(1).leading_zeros();
        Self {
            bins: [0; Self::BINS],
            high: high.max(1),
            exponent: 5 - bits as i8,
        }
    }

    /// The requantizer whose result is the bin of a value, with bounds of 0 and 63, in place of
    /// `affine`, whose result is its code; `None` if its shift has no room for that. Other
    /// multipliers of the layer stay.
    #[must_use]
    pub fn binning(&self, affine: &Affine) -> Option<Affine> {
        let half = 1i64.checked_shl(u32::from(affine.shift.checked_sub(1)?))?;
        let shift = affine
            .shift
            .checked_add_signed(self.exponent.wrapping_neg())?;
        (1..=62).contains(&shift).then_some(Affine {
            multiplier: affine.multiplier,
            bias: affine.bias.checked_sub(half)?,
            shift,
        })
    }

    /// Counts a value in `bin`, 0 to 63; others are not counted.
    pub fn add(&mut self, bin: usize) {
        if let Some(count) = self.bins.get_mut(bin) {
            *count = count.saturating_add(1);
        }
    }

    /// Takes in what `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.bins.iter_mut().zip(&other.bins) {
            *count = count.saturating_add(*more);
        }
    }

    /// Values beyond the largest code, in thousandths of all.
    #[must_use]
    pub fn clipped_permille(&self) -> u32 {
        let end = match u32::try_from(self.exponent) {
            Ok(finer) => u32::from(self.high).wrapping_shl(finer),
            Err(_) => {
                let coarser = u32::from(self.exponent.unsigned_abs());
                let width = 1u32.wrapping_shl(coarser);
                u32::from(self.high).wrapping_add(width.wrapping_sub(1)) >> coarser.min(31)
            }
        };
        let sum = |bins: &[u32]| bins.iter().map(|count| u64::from(*count)).sum::<u64>();
        let clipped = sum(self.bins.get(end as usize..).unwrap_or_default());
        let permille = clipped.saturating_mul(1000).checked_div(sum(&self.bins));
        permille.unwrap_or_default() as u32
    }

    /// The step with the least sum of squared errors; among equals the one that changes least. Of
    /// codes of more than 5 bits it only tells that the range is wide enough, as bins are wider.
    #[must_use]
    pub fn best(&self) -> Rescale {
        let mut best = (self.error(Rescale::NONE), Rescale::NONE);
        for distance in 1..=Rescale::MOST {
            for eighths in [-distance, distance] {
                let error = self.error(Rescale { eighths });
                if error < best.0 {
                    best = (error, Rescale { eighths });
                }
            }
        }
        best.1
    }

    /// Sum of squared errors in units of 2^-16 of half a bin squared.
    fn error(&self, rescale: Rescale) -> u64 {
        let factor = u64::from(rescale.factor());
        // From half bins times the factor to codes.
        let shift = (FACTOR_FRACTION + 1).saturating_add_signed(self.exponent.into());
        let half = 1u64.wrapping_shl(shift.saturating_sub(1));
        let mut total = 0u64;
        for (value, count) in (1u64..).step_by(2).zip(&self.bins) {
            let code = value.wrapping_mul(factor).wrapping_add(half) >> shift.min(63);
            let code = code.min(self.high.into());
            let scaled = i128::from(code.wrapping_shl(shift + ERROR_FRACTION));
            let found = rounded_quotient(scaled, factor.into()) as i64;
            let distance = (value << ERROR_FRACTION).abs_diff(found.cast_unsigned());
            let squares = distance.saturating_mul(distance);
            total = total.saturating_add(squares.saturating_mul((*count).into()));
        }
        total
    }
}

/// Another step of a tensor: `2^(eighths / 8)` times as many codes per unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rescale {
    eighths: i8,
}

impl Rescale {
    /// The step as it is.
    pub const NONE: Self = Self { eighths: 0 };
    /// Largest size of [`eighths`](Self::eighths).
    pub const MOST: i8 = 8;

    /// 8 times the binary logarithm of the new number of codes per unit divided by the old one.
    #[must_use]
    pub fn eighths(self) -> i8 {
        self.eighths
    }

    /// New codes per old code, times 2^24.
    fn factor(self) -> u32 {
        let index = self.eighths.wrapping_add(Self::MOST).cast_unsigned();
        FACTORS
            .get(usize::from(index))
            .copied()
            .unwrap_or(1 << FACTOR_FRACTION)
    }

    /// The requantizer of the layer that computes the tensor; `None` if it does not fit.
    #[must_use]
    pub fn written(self, affine: &Affine) -> Option<Affine> {
        let half = 1i128.checked_shl(u32::from(affine.shift.checked_sub(1)?))?;
        let exact = i128::from(affine.bias).wrapping_sub(half);
        let scaled = exact.wrapping_mul(self.factor().into());
        let bias = rounded_shift(scaled, FACTOR_FRACTION).wrapping_add(half);
        (bias.abs() < LARGEST_BIAS).then_some(Affine {
            multiplier: self.written_multiplier(affine.multiplier)?,
            bias: bias as i64,
            shift: affine.shift,
        })
    }

    /// A further multiplier of that layer, of what is added before it rounds; `None` if it does not
    /// fit.
    #[must_use]
    pub fn written_multiplier(self, multiplier: i32) -> Option<i32> {
        let scaled = i128::from(multiplier).wrapping_mul(self.factor().into());
        fitting(rounded_shift(scaled, FACTOR_FRACTION))
    }

    /// What a layer that reads the tensor multiplies by; `None` if it does not fit.
    #[must_use]
    pub fn read_multiplier(self, multiplier: i32) -> Option<i32> {
        let scaled = i128::from(multiplier).wrapping_shl(FACTOR_FRACTION);
        fitting(rounded_quotient(scaled, self.factor().into()))
    }
}

fn fitting(multiplier: i128) -> Option<i32> {
    (multiplier.abs() <= LARGEST_MULTIPLIER).then_some(multiplier as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn factors_are_eighths_of_octaves() {
        for (index, factor) in (-8i8..).zip(FACTORS) {
            let exact = (f64::from(index) / 8.0).exp2() * 16_777_216.0;
            assert_eq!(f64::from(factor), exact.round(), "{index}");
        }
        assert_eq!(Rescale::NONE.factor(), 1 << 24);
    }

    #[test]
    fn bins_reach_twice_as_far_as_codes() {
        for high in 1..=255u8 {
            let reach = 64.0 * (-f64::from(Histogram::new(high).exponent)).exp2();
            let most = 2.0 * f64::from(high);
            assert!((most..2.0 * most).contains(&reach), "{high}: {reach}");
        }
    }

    /// A histogram of values in codes.
    fn histogram(high: u8, values: impl IntoIterator<Item = f64>) -> Histogram {
        let mut found = Histogram::new(high);
        let width = (-f64::from(found.exponent)).exp2();
        for value in values {
            found.add(((value / width).max(0.0) as usize).min(63));
        }
        found
    }

    #[test]
    fn what_lies_beyond_the_range_is_clipped() {
        for high in [1, 3, 7, 15, 31, 63, 255] {
            let end = f64::from(high);
            let inside = histogram(high, [0.0, 0.4 * end, 0.9 * end]);
            assert_eq!(inside.clipped_permille(), 0, "{high}");
            let outside = histogram(high, [0.0, 1.1 * end, 1.5 * end, 5.0 * end]);
            assert_eq!(outside.clipped_permille(), 750, "{high}");
        }
        assert_eq!(Histogram::new(7).clipped_permille(), 0);
    }

    /// The largest code stands for values up to half a code beyond it.
    #[test]
    fn the_range_ends_where_uniform_values_do() {
        for high in [3u8, 7, 15, 255] {
            let end = f64::from(high);
            // Bins wider than codes tell nothing of finer steps.
            let narrow = [0.6, 0.8].into_iter().filter(|_| high < 32);
            for reach in narrow.chain([1.0, 1.3, 1.8]) {
                let values = (0..1000).map(|index| f64::from(index) / 1000.0 * reach * end);
                let best = histogram(high, values).best().eighths();
                let exact = -8.0 * (reach * end / (end + 0.5)).log2();
                // Bins wider than codes do not tell what a range that is too wide costs.
                let lowest = if high < 32 { exact - 1.0 } else { -8.0 };
                assert!(
                    (lowest..=exact + 1.0).contains(&f64::from(best)),
                    "{high} {reach}: {best} {exact}"
                );
            }
        }
        assert_eq!(Histogram::new(15).best(), Rescale::NONE);
    }

    const AFFINE: Affine = Affine {
        multiplier: -300_000_001,
        bias: (5 << 40) + (1 << 39),
        shift: 40,
    };

    #[test]
    fn the_step_as_it_is_changes_nothing() {
        assert_eq!(Rescale::NONE.written(&AFFINE), Some(AFFINE));
        assert_eq!(Rescale::NONE.read_multiplier(77), Some(77));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (up, down) = (Rescale { eighths: 8 }, Rescale { eighths: -8 });
        let large = Affine {
            multiplier: 1 << 30,
            ..AFFINE
        };
        assert_eq!(up.written(&large), None);
        assert_eq!(down.read_multiplier(-(1 << 30)), None);
        assert_eq!(up.written_multiplier(1 << 29), Some(1 << 30));
        let far = Affine {
            bias: (1 << 61) - 1,
            ..AFFINE
        };
        assert_eq!(up.written(&far), None);
        for shift in [0, 1] {
            let coarse = Affine { shift, ..AFFINE };
            assert_eq!(Histogram::new(3).binning(&coarse), None);
        }
    }

    proptest! {
        /// The bin is that of the value before it was rounded to a code.
        #[test]
        fn bins_are_parts_of_codes(
            accumulator in -100_000i32..100_000,
            multiplier in (1i32 << 28)..(1 << 30),
            offset in -1000i64..1000,
            shift in 36u8..42,
            high: u8,
        ) {
            let affine = Affine { multiplier, bias: (offset << shift) + (1 << (shift - 1)), shift };
            let histogram = Histogram::new(high);
            let bin = histogram.binning(&affine).expect("fits").apply(accumulator, 0);
            let value = f64::from(accumulator) * f64::from(multiplier) / f64::from(shift).exp2()
                + offset as f64;
            let exact = (value * f64::from(histogram.exponent).exp2()).floor();
            prop_assert_eq!(bin as f64, exact);
        }

        /// A product of the new pair is that of the old one, up to the rounding of both.
        #[test]
        fn what_is_written_and_read_cancels_out(
            multiplier in -(1i32 << 28)..(1 << 28),
            eighths in -8i8..=8,
        ) {
            let rescale = Rescale { eighths };
            let written = rescale.written_multiplier(multiplier).expect("fits");
            let read = rescale.read_multiplier(written).expect("fits");
            prop_assert!(read.abs_diff(multiplier) <= 2, "{read} {multiplier}");
        }
    }
}
