//! Real gains and offsets to multipliers, biases and shifts.
//!
//! The board computes `(M * acc + B) >> S`; with `M = round(g * 2^S)` and `B = round(h * 2^S)` plus
//! half a unit this is `round(g * acc + h)` to within `|g| * (|acc| + 1) / 2^30`.

/// Parameters of one output channel. There is one multiplier for every gain given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FixedPoint {
    pub(super) multipliers: Vec<i32>,
    pub(super) bias: i64,
    pub(super) shift: u8,
}

/// Bits of the largest multiplier.
const MULTIPLIER_BITS: u8 = 30;
const LARGEST_BIAS: f64 = (1u64 << 61) as f64;
/// A product this large and a bias still have a sum that 64 bits hold.
const LARGEST_PRODUCT: f64 = (1u64 << 62) as f64;

/// What a fixed-point form must have room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Largest size of an accumulator.
    pub(super) accumulator: u64,
    /// Bits by which a multiplier may grow later.
    pub(super) headroom: u8,
}

/// The finest fixed-point form of `sum of gain * accumulator + offset` that fits; `None` if none
/// does.
pub(super) fn fixed_point(gains: &[f64], offset: f64, room: Room) -> Option<FixedPoint> {
    let bits = MULTIPLIER_BITS - room.headroom;
    let largest_multiplier = ((1u64 << bits) as f64).min(LARGEST_PRODUCT / room.accumulator as f64);
    let largest = gains
        .iter()
        .fold(0f64, |largest, gain| largest.max(gain.abs()));
    if !largest.is_finite() || !offset.is_finite() {
        return None;
    }
    let finest = if largest == 0.0 {
        62
    } else {
        (i64::from(bits) - 1 - largest.log2().floor() as i64).clamp(1, 62)
    };
    (1..=finest as u8).rev().find_map(|shift| {
        let unit = (1u64 << shift) as f64;
        let rounded = |value: f64| (value * unit + 0.5).floor();
        let bias = rounded(offset) + unit / 2.0;
        let fits = gains
            .iter()
            .all(|gain| rounded(*gain).abs() <= largest_multiplier);
        (fits && bias.abs() < LARGEST_BIAS).then(|| FixedPoint {
            multipliers: gains.iter().map(|gain| rounded(*gain) as i32).collect(),
            bias: bias as i64,
            shift,
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NARROW: Room = Room {
        accumulator: 1 << 31,
        headroom: 0,
    };

    fn requantized(form: &FixedPoint, accumulator: i64) -> i64 {
        (i64::from(form.multipliers[0]) * accumulator + form.bias) >> form.shift
    }

    proptest! {
        /// The error bound of the fixed-point form, before rounding: only values that close to a
        /// rounding boundary may give another code.
        #[test]
        fn codes_differ_only_at_rounding_boundaries(
            exponent in -20f64..2.0,
            negative: bool,
            offset in -300f64..300.0,
            accumulator in -2_000_000i64..2_000_000,
        ) {
            let gain = if negative { -exponent.exp2() } else { exponent.exp2() };
            let form = fixed_point(&[gain], offset, NARROW).unwrap();
            let exact = gain * accumulator as f64 + offset;
            let bound = gain.abs() * (accumulator.abs() as f64 + 1.0) / 2f64.powi(30) + 1e-9;
            let found = requantized(&form, accumulator);
            let (low, high) = ((exact - bound + 0.5).floor(), (exact + bound + 0.5).floor());
            prop_assert!((low as i64..=high as i64).contains(&found), "{found} for {exact}");
        }
    }

    #[test]
    fn multipliers_use_the_full_width() {
        for gain in [1e-6, 0.017, 0.999, 1.0, 1.001, 37.5, -0.25] {
            let form = fixed_point(&[gain], 0.0, NARROW).unwrap();
            let size = form.multipliers[0].unsigned_abs();
            assert!((1 << 29..=1 << 30).contains(&size), "{gain}: {size}");
            let room = Room {
                headroom: 1,
                ..NARROW
            };
            let size = fixed_point(&[gain], 0.0, room).unwrap().multipliers[0].unsigned_abs();
            assert!((1 << 28..=1 << 29).contains(&size), "{gain}: {size}");
        }
    }

    #[test]
    fn a_large_offset_lowers_the_shift() {
        let form = fixed_point(&[1e-9], 200.0, NARROW).unwrap();
        assert!(form.shift < 62 && form.bias.unsigned_abs() < 1 << 61);
        assert_eq!(requantized(&form, 0), 200);
        let dead = fixed_point(&[0.0], 3.4, NARROW).unwrap();
        assert_eq!((dead.multipliers[0], requantized(&dead, 12_345)), (0, 3));
    }

    #[test]
    fn what_has_no_form_is_refused() {
        for (gain, offset) in [
            (f64::NAN, 0.0),
            (0.1, f64::INFINITY),
            (1e12, 0.0),
            (0.1, 1e30),
        ] {
            assert_eq!(fixed_point(&[gain], offset, NARROW), None);
        }
    }

    #[test]
    fn wide_accumulators_get_smaller_multipliers() {
        let wide = 1u64 << 40;
        let room = Room {
            accumulator: wide,
            headroom: 0,
        };
        let form = fixed_point(&[0.37], -5.0, room).unwrap();
        let multiplier = form.multipliers[0];
        assert!((1 << 21..=1 << 22).contains(&multiplier), "{multiplier}");
        let product = i64::from(multiplier).checked_mul(wide as i64).unwrap();
        let exact = 0.37 * wide as f64 - 5.0;
        let found = product.checked_add(form.bias).unwrap() >> form.shift;
        assert!((found as f64 - exact).abs() <= exact * 2f64.powi(-21));
    }
}
