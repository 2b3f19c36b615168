//! First and second moments of accumulators.

use core::cell::Cell;

use super::rounded_shift;

/// Bits that a summand has beside its sign: the square sum of 2^20 of them fits 63 bits.
const SUMMAND_BITS: u32 = 21;

/// What the trained BatchNorm statistics say about one output channel of a convolution, in units of
/// its accumulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    /// Accumulators are divided by `2^shift` before they are summed.
    pub shift: u8,
    /// Mean of `acc / 2^shift`, times 2^16.
    pub mean: i64,
    /// Variance of `acc / 2^shift`, times 2^16; 1 to 2^60 - 1.
    pub variance: u64,
}

impl Reference {
    /// The shift for accumulators up to `largest` in size: the least with which a summand has at
    /// most 21 bits.
    #[must_use]
    pub const fn shift_for(largest: u64) -> u8 {
        let bits = u64::BITS - largest.saturating_sub(1).leading_zeros();
        bits.saturating_sub(SUMMAND_BITS) as u8
    }
}

/// Sums over the accumulators of one output channel. No more than 2^20 accumulators fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Moments {
    /// Sum of `acc / 2^shift`, each rounded.
    pub sum: i64,
    /// Sum of their squares.
    pub squares: u64,
}

impl Moments {
    /// Bytes of the sums of one channel.
    pub const BYTES: usize = size_of::<Self>();
    /// Most accumulators that may be added.
    pub const MOST: u32 = 1 << 20;

    /// Takes in one accumulator, divided by `2^shift`.
    #[inline(always)]
    pub fn add(&mut self, accumulator: i32, shift: u8) {
        let element = if shift == 0 {
            i64::from(accumulator)
        } else {
            rounded_shift(accumulator.into(), shift.into()) as i64
        };
        self.sum = self.sum.wrapping_add(element);
        let square = element.wrapping_mul(element) as u64;
        self.squares = self.squares.wrapping_add(square);
    }

    /// Both numbers, little-endian, the sum first.
    #[must_use]
    pub fn to_le_bytes(&self) -> [u8; Self::BYTES] {
        bytemuck::must_cast([self.sum.to_le_bytes(), self.squares.to_le_bytes()])
    }

    /// Reads what [`to_le_bytes`](Self::to_le_bytes) gave.
    #[must_use]
    pub fn from_le_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let [sum, squares] = bytemuck::must_cast::<_, [[u8; 8]; 2]>(bytes);
        Self {
            sum: i64::from_le_bytes(sum),
            squares: u64::from_le_bytes(squares),
        }
    }

    /// Takes in what `other` has taken in.
    pub fn merge(&mut self, other: &Self) {
        self.sum = self.sum.wrapping_add(other.sum);
        self.squares = self.squares.wrapping_add(other.squares);
    }
}

/// Where the accumulators of a convolution are collected.
#[derive(Debug, Clone, Copy)]
pub struct Collector<'a> {
    /// One per output channel.
    pub moments: &'a [Cell<Moments>],
    /// Accumulators are divided by `2^shift` before they are summed.
    pub shift: u8,
}

impl Collector<'_> {
    /// Takes in accumulators of a channel.
    #[inline(always)]
    pub fn add(&self, channel: usize, accumulators: &[i32]) {
        if let Some(place) = self.moments.get(channel) {
            let mut moments = place.get();
            for accumulator in accumulators {
                moments.add(*accumulator, self.shift);
            }
            place.set(moments);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shifts_are_the_least_that_fit() {
        for (largest, shift) in [
            (0, 0),
            (1, 0),
            (1 << 21, 0),
            ((1 << 21) + 1, 1),
            (1 << 31, 10),
        ] {
            assert_eq!(Reference::shift_for(largest), shift, "{largest}");
        }
    }

    #[test]
    fn the_largest_sums_fit() {
        let mut moments = Moments::default();
        let shift = Reference::shift_for(1 << 31);
        moments.add(i32::MIN, shift);
        assert_eq!(moments.sum, -(1 << 21));
        let most = i128::from(moments.squares) * i128::from(Moments::MOST);
        assert!(most < 1 << 63);
    }

    proptest! {
        #[test]
        fn sums_do_not_depend_on_the_order(
            values in proptest::collection::vec(any::<i32>(), 0..50),
            shift in 0u8..=10,
            split: proptest::sample::Index,
        ) {
            let sums = |values: &[i32]| {
                let mut moments = Moments::default();
                values.iter().for_each(|value| moments.add(*value, shift));
                moments
            };
            let (front, back) = values.split_at(split.index(values.len() + 1).min(values.len()));
            let mut merged = sums(back);
            merged.merge(&sums(front));
            prop_assert_eq!(merged, sums(&values));
        }
    }
}
