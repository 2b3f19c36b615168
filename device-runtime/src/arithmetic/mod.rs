//! Requantization, rounding, saturation and packed sub-byte codes.

mod codes;

pub use codes::unpack;
pub(crate) use codes::unpack_groups;

/// An integer multiplier, a 64-bit bias and a shift: the affine map from sums of products to the
/// integers of the next tensor, rounded once and to the nearest, ties upwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Affine {
    /// At most 2^30 in size.
    pub multiplier: i32,
    /// Below 2^61 in size; contains the rounding constant `2^(shift - 1)`.
    pub bias: i64,
    /// 1 to 62.
    pub shift: u8,
}

impl Affine {
    /// `(multiplier * sum + addend + bias) >> shift`, floor.
    ///
    /// With a `sum` below 2^31 and an `addend` up to 2^61 in size nothing overflows.
    #[must_use]
    pub fn apply(&self, sum: i32, addend: i64) -> i64 {
        let product = i64::from(self.multiplier).wrapping_mul(i64::from(sum));
        let exact = product.wrapping_add(addend).wrapping_add(self.bias);
        exact.wrapping_shr(self.shift.into())
    }

    /// Like [`apply`](Self::apply) for sums that take more than 32 bits. The caller vouches for
    /// `|multiplier * sum| + |bias| < 2^63`.
    #[must_use]
    pub fn apply_wide(&self, sum: i64) -> i64 {
        let product = i64::from(self.multiplier).wrapping_mul(sum);
        product
            .wrapping_add(self.bias)
            .wrapping_shr(self.shift.into())
    }
}

/// The nearest number to `value` in `low ..= high`; `high` if the range is empty.
#[must_use]
pub fn clamp(value: i64, low: i32, high: i32) -> i32 {
    let clamped = value.max(low.into()).min(high.into());
    clamped as i32
}

/// The nearest number to `value` in 32 bits.
#[must_use]
pub fn saturate_i32(value: i64) -> i32 {
    clamp(value, i32::MIN, i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn half_rounds_up_on_both_sides_of_zero() {
        let half = Affine {
            multiplier: 1,
            bias: 1,
            shift: 1,
        };
        let rounded = [-3, -2, -1, 0, 1, 2, 3].map(|sum| half.apply(sum, 0));
        assert_eq!(rounded, [-1, -1, 0, 0, 1, 1, 2]);
    }

    #[test]
    fn saturation_keeps_the_ends() {
        assert_eq!(saturate_i32(i64::MIN), i32::MIN);
        assert_eq!(saturate_i32(i64::from(i32::MAX) + 1), i32::MAX);
        assert_eq!(saturate_i32(-5), -5);
    }

    proptest! {
        #[test]
        fn affine_equals_exact_floor_division(
            multiplier in -(1i32 << 30)..=1 << 30,
            sum in i32::MIN + 1..=i32::MAX,
            addend in -(1i64 << 61)..=1 << 61,
            bias in -(1i64 << 61) + 1..1 << 61,
            shift in 1u8..=62,
        ) {
            let exact = i128::from(multiplier) * i128::from(sum) + i128::from(addend) + i128::from(bias);
            let expected = exact.div_euclid(1 << shift);
            let affine = Affine { multiplier, bias, shift };
            prop_assert_eq!(i128::from(affine.apply(sum, addend)), expected);
        }
    }
}
