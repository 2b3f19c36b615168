//! On-device calibration: a network whose BatchNorms are folded adapts to the board's own inputs,
//! in integers and without labels.
//!
//! With `y = gamma * (acc - m) / sigma + beta` folded into `(M * acc + B) >> S`, other moments
//! `(m', sigma')` of the same accumulators give the same requantizer with
//!
//! ```text
//! M' = M * sigma / sigma'        B' = B + M * m - M' * m'
//! ```
//! [`Moments`] are collected while inputs run, [`correct`] shrinks them towards those of the
//! training data and gives the new parameters, [`judge`] says whether these help, and a
//! [`Record`] keeps them beside the immutable model. The host computes the same bytes from the same
//! inputs. (BatchNorm adaptation: Schneider et al. 2020, arXiv 2006.16971; here on the folded
//! network.)

mod acceptance;
mod answer;
mod correction;
mod corrections;
mod moments;
mod pass;
mod plan;
mod ranges;
mod record;

pub use acceptance::{Evidence, Guards, Metric, Rejection, Trial, judge};
pub use answer::Answer;
pub use correction::{Correction, Weights, correct};
pub use corrections::Corrections;
pub use moments::{Collector, Moments, Reference};
pub use pass::finish_pass;
pub use plan::{Passes, Plan, PlanLayer};
pub use ranges::{Histogram, Rescale};
pub use record::{
    COMMIT_OFFSET, HEADER_BYTES, Header, Layer, PARAMETER_BYTES, PAYLOAD_OFFSET, Payload,
    REVOKE_OFFSET, Record, RecordError, WRITE_UNIT,
};

/// `value / 2^shift`, to the nearest, ties upwards.
fn rounded_shift(value: i128, shift: u32) -> i128 {
    match shift.checked_sub(1) {
        None => value,
        Some(half) => value.wrapping_add(1i128.wrapping_shl(half)) >> shift.min(127),
    }
}

/// `value / divisor`, to the nearest, ties upwards; 0 for a divisor that is not positive.
#[inline(never)] // A division of 128 bits is much code for a small board.
fn rounded_quotient(value: i128, divisor: i128) -> i128 {
    if divisor <= 0 {
        return 0;
    }
    let doubled = value.wrapping_mul(2).wrapping_add(divisor);
    doubled
        .checked_div_euclid(divisor.wrapping_mul(2))
        .unwrap_or_default()
}

/// The largest number whose square is not above `value`. Small code counts here, not speed.
fn square_root(value: u128) -> u128 {
    let (mut rest, mut root) = (value, 0u128);
    for place in (0..u128::BITS / 2).rev() {
        // The square of the root so far has been taken off the rest.
        let step = (root.wrapping_shl(1) | 1u128.wrapping_shl(place)).wrapping_shl(place);
        if step <= rest {
            rest = rest.wrapping_sub(step);
            root |= 1u128.wrapping_shl(place);
        }
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ties_round_up_on_both_sides_of_zero() {
        assert_eq!(
            [-3, -2, -1, 0, 1, 2, 3].map(|v| rounded_shift(v, 1)),
            [-1, -1, 0, 0, 1, 1, 2]
        );
        assert_eq!(
            [-3, -2, -1, 0, 1, 2, 3].map(|v| rounded_quotient(v, 2)),
            [-1, -1, 0, 0, 1, 1, 2]
        );
        assert_eq!(rounded_shift(-7, 0), -7);
        assert_eq!(rounded_quotient(5, 0), 0);
    }

    proptest! {
        #[test]
        fn square_roots_are_those_of_the_standard_library(value: u128, shift in 0u32..128) {
            let value = value >> shift;
            prop_assert_eq!(square_root(value), value.isqrt());
        }
    }
}
