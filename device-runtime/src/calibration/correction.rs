//! From moments to new parameters of the requantizer.

use crate::arithmetic::Affine;

use super::{Moments, Reference, rounded_quotient, rounded_shift, square_root};

/// Fraction bits of means and variances.
const MOMENT_FRACTION: u32 = 16;
/// Fraction bits of the ratio of deviations.
const RATIO_FRACTION: u32 = 24;
pub(super) const LARGEST_MULTIPLIER: i128 = 1 << 30;
pub(super) const LARGEST_BIAS: i128 = 1 << 61;
/// Of 2^20 summands of 21 bits.
const LARGEST_SUM: i64 = 1 << 41;
const LARGEST_SQUARES: u64 = 1 << 62;

/// How much the observed moments count against those of the training data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weights {
    /// Accumulators per channel that were observed, at most [`Moments::MOST`].
    pub positions: u32,
    /// Images that they come from.
    pub images: u32,
    /// Images that the statistics of the training data count as. More of them move less.
    pub prior: u32,
}

/// New parameters of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correction {
    /// The requantizer, with the shift it had.
    pub affine: Affine,
    /// The observed moments lay so far from the trained ones that they were not followed all the
    /// way: beyond two deviations of the mean, or half or twice the deviation.
    pub clamped: bool,
}

/// The requantizer of a channel whose accumulators have the moments `observed`, shrunk towards
/// `reference`. A residual's multiplier stays as it is.
///
/// `affine.multiplier` must be at most 2^29 in size, as it may double.
#[must_use]
pub fn correct(
    affine: &Affine,
    reference: &Reference,
    observed: &Moments,
    weights: &Weights,
) -> Correction {
    let unchanged = |clamped| Correction {
        affine: *affine,
        clamped,
    };
    if weights.positions == 0 || weights.images == 0 {
        return unchanged(false);
    }
    let target = Target::new(reference, observed, weights);
    let multiplier = i128::from(affine.multiplier);
    let corrected = rounded_shift(multiplier * target.ratio(reference), RATIO_FRACTION);
    let moved = multiplier * i128::from(reference.mean) - corrected * target.mean;
    let fraction = MOMENT_FRACTION.saturating_sub(reference.shift.into());
    let bias = i128::from(affine.bias) + rounded_shift(moved, fraction);
    if corrected.abs() > LARGEST_MULTIPLIER || bias.abs() >= LARGEST_BIAS {
        return unchanged(true);
    }
    Correction {
        affine: Affine {
            multiplier: corrected as i32,
            bias: bias as i64,
            shift: affine.shift,
        },
        clamped: target.clamped,
    }
}

impl Reference {
    /// The statistics that belong to the requantizer that [`correct`] gives, if it is to be corrected
    /// again.
    #[must_use]
    pub fn adapted(&self, observed: &Moments, weights: &Weights) -> Self {
        if weights.positions == 0 || weights.images == 0 {
            return *self;
        }
        let target = Target::new(self, observed, weights);
        let (mean, variance) = (
            i128::from(Self::LARGEST_MEAN),
            i128::from(Self::LARGEST_VARIANCE),
        );
        Self {
            shift: self.shift,
            mean: target.mean.max(-mean).min(mean) as i64,
            variance: target.variance.max(1).min(variance) as u64,
        }
    }
}

/// The moments that a channel is corrected for, times 2^16.
struct Target {
    mean: i128,
    variance: i128,
    clamped: bool,
}

impl Target {
    fn new(reference: &Reference, observed: &Moments, weights: &Weights) -> Self {
        let positions = i128::from(weights.positions);
        // Sums that no accumulators can have are those of a broken model.
        let (sum, squares) = (
            i128::from(observed.sum.clamp(-LARGEST_SUM, LARGEST_SUM)),
            i128::from(observed.squares.min(LARGEST_SQUARES)),
        );
        let mean = rounded_quotient(sum << MOMENT_FRACTION, positions);
        let spread = positions.wrapping_mul(squares).wrapping_sub(sum * sum);
        let variance = rounded_quotient(spread << MOMENT_FRACTION, positions * positions);

        let (images, prior) = (i128::from(weights.images), i128::from(weights.prior));
        let shrunk = |trained: i128, observed: i128| {
            rounded_quotient(prior * trained + images * observed, prior + images)
        };
        let (trained_mean, trained_variance) = (
            i128::from(reference.mean),
            i128::from(reference.variance.max(1)),
        );
        let (mean, variance) = (
            shrunk(trained_mean, mean),
            shrunk(trained_variance, variance),
        );

        let least = (trained_variance + 3) >> 2;
        let clamped_variance = variance.max(least).min(trained_variance << 2);
        // Two deviations in units of 2^-16: 2 * 2^16 * sqrt(V / 2^16) = sqrt(V * 2^18).
        let limit = square_root((trained_variance << 18).cast_unsigned()).cast_signed();
        let clamped_mean = mean.max(trained_mean - limit).min(trained_mean + limit);
        Self {
            mean: clamped_mean,
            variance: clamped_variance,
            clamped: clamped_variance != variance || clamped_mean != mean,
        }
    }

    /// Trained deviation divided by this one, times 2^24: at most 2^25.
    fn ratio(&self, reference: &Reference) -> i128 {
        let trained = u128::from(reference.variance.max(1)) << (2 * RATIO_FRACTION);
        let quotient = trained.checked_div(self.variance.cast_unsigned());
        square_root(quotient.unwrap_or_default()).cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn observe(values: &[i32], shift: u8) -> Moments {
        let mut moments = Moments::default();
        values.iter().for_each(|value| moments.add(*value, shift));
        moments
    }

    fn reference(values: &[i32], shift: u8) -> Reference {
        let count = values.len() as f64;
        let unit = f64::from(1u32 << shift);
        let scaled = values.iter().map(|value| f64::from(*value) / unit);
        let mean = scaled.clone().sum::<f64>() / count;
        let variance = scaled.map(|v| (v - mean) * (v - mean)).sum::<f64>() / count;
        Reference {
            shift,
            mean: (mean * 65536.0).round() as i64,
            variance: ((variance * 65536.0).round() as u64).max(1),
        }
    }

    fn weights(count: usize, images: u32, prior: u32) -> Weights {
        Weights {
            positions: count as u32,
            images,
            prior,
        }
    }

    const AFFINE: Affine = Affine {
        multiplier: -300_000_001,
        bias: (5 << 40) + (1 << 39),
        shift: 40,
    };

    #[test]
    fn nothing_observed_changes_nothing() {
        let trained = Reference {
            shift: 0,
            mean: 77,
            variance: 9_999_999,
        };
        let found = correct(&AFFINE, &trained, &Moments::default(), &weights(0, 0, 16));
        assert_eq!((found.affine, found.clamped), (AFFINE, false));
    }

    /// Once moments have been followed, the same ones change nothing.
    #[test]
    fn adapted_statistics_belong_to_the_new_requantizer() {
        let trained = Reference {
            shift: 0,
            mean: 10 << 16,
            variance: 25 << 16,
        };
        let moments = observe(&[9, 21, 9, 21], 0);
        let once = correct(&AFFINE, &trained, &moments, &weights(4, 1, 0));
        let adapted = trained.adapted(&moments, &weights(4, 1, 0));
        assert_eq!((adapted.mean, adapted.variance), (15 << 16, 36 << 16));
        let twice = correct(&once.affine, &adapted, &moments, &weights(4, 1, 0));
        assert_eq!(twice.affine, once.affine);
        assert_ne!(once.affine, AFFINE);
    }

    /// An infinitely strong prior gives the parameters of the factory, bit for bit.
    #[test]
    fn moments_of_the_training_data_change_nothing() {
        let trained = Reference {
            shift: 0,
            mean: 10 << 16,
            variance: 25 << 16,
        };
        let moments = observe(&[5, 15, 5, 15], 0);
        for prior in [0, 16, u32::MAX] {
            let found = correct(&AFFINE, &trained, &moments, &weights(4, 1, prior));
            assert_eq!(found.affine, AFFINE);
        }
    }

    #[test]
    fn far_moments_are_clamped() {
        let trained = Reference {
            shift: 0,
            mean: 0,
            variance: 16 << 16,
        };
        // A constant: no deviation at all, far from the mean.
        let found = correct(
            &AFFINE,
            &trained,
            &observe(&[500; 10], 0),
            &weights(10, 1, 0),
        );
        assert!(found.clamped);
        // At most twice the multiplier.
        assert_eq!(found.affine.multiplier, 2 * AFFINE.multiplier);
        // The mean moved by two deviations of 4 only.
        let moved = i128::from(found.affine.bias) - i128::from(AFFINE.bias);
        assert_eq!(moved, -i128::from(found.affine.multiplier) * 8);
        let wide = observe(&[-5000, 5000], 0);
        let found = correct(&AFFINE, &trained, &wide, &weights(2, 1, 0));
        assert!(found.clamped);
        assert_eq!(found.affine.multiplier, -150_000_000);
    }

    #[test]
    fn what_does_not_fit_is_left_alone() {
        let trained = Reference {
            shift: 0,
            mean: 0,
            variance: 1 << 59,
        };
        let affine = Affine {
            bias: (1 << 61) - 1,
            ..AFFINE
        };
        let found = correct(
            &affine,
            &trained,
            &observe(&[1 << 21; 4], 0),
            &weights(4, 1, 0),
        );
        assert_eq!((found.affine, found.clamped), (affine, true));
    }

    proptest! {
        /// The same as BatchNorm with the new statistics in real numbers, to a thousandth of a code.
        #[test]
        fn equals_batch_norm_with_the_new_statistics(
            trained in proptest::collection::vec(-3000i32..3000, 64),
            factor in 0.6f64..1.8,
            offset in -800f64..800.0,
            prior in 0u32..300,
            shift in 0u8..=3,
            gain in 0.001f64..0.02,
        ) {
            let images = 4;
            let trained_reference = reference(&trained, shift);
            let shifted: Vec<i32> =
                trained.iter().map(|v| (f64::from(*v) * factor + offset) as i32).collect();
            let moments = observe(&shifted, shift);
            let found = correct(
                &Affine { multiplier: (gain * f64::from(1 << 28)) as i32, bias: 1 << 27, shift: 28 },
                &trained_reference,
                &moments,
                &weights(shifted.len(), images, prior),
            );
            let unit = f64::from(1u32 << shift);
            let real = |mean: f64, variance: f64| (mean * unit, variance * unit * unit);
            let (old_mean, old_variance) = real(
                trained_reference.mean as f64 / 65536.0,
                trained_reference.variance as f64 / 65536.0,
            );
            // Of the sums, which know nothing of what rounding the summands took away.
            let count = shifted.len() as f64;
            let mean = moments.sum as f64 / count;
            let (mean, variance) = real(mean, moments.squares as f64 / count - mean * mean);
            let share = f64::from(images) / f64::from(images + prior);
            let new_mean = old_mean + share * (mean - old_mean);
            let new_variance = old_variance + share * (variance - old_variance);
            let limit = 2.0 * old_variance.sqrt();
            prop_assume!((new_mean - old_mean).abs() < 0.99 * limit);
            prop_assert!(!found.clamped);
            for accumulator in shifted {
                let normalized = (f64::from(accumulator) - new_mean) / new_variance.sqrt();
                let factory = old_mean + normalized * old_variance.sqrt();
                let exact = f64::from((gain * f64::from(1 << 28)) as i32) * factory / f64::from(1 << 28);
                let affine = &found.affine;
                let got = f64::from(affine.multiplier) * f64::from(accumulator) + affine.bias as f64
                    - f64::from(1 << 27);
                let got = got / f64::from(1 << 28);
                prop_assert!((got - exact).abs() < 2e-3, "{got} for {exact}");
            }
        }

        #[test]
        fn no_input_overflows(
            multiplier in -(1i32 << 29)..=1 << 29,
            bias in -(1i64 << 61) + 1..1 << 61,
            shift in 0u8..=10,
            mean in -(1i64 << 37)..=1 << 37,
            variance in 1u64..1 << 60,
            sum: i64,
            squares: u64,
            positions in 0u32..=1 << 20,
            images: u32,
            prior: u32,
        ) {
            let affine = Affine { multiplier, bias, shift: 30 };
            let found = correct(
                &affine,
                &Reference { shift, mean, variance },
                &Moments { sum, squares },
                &Weights { positions, images, prior },
            );
            prop_assert!(found.affine.multiplier.unsigned_abs() <= 1 << 30);
            prop_assert!(found.affine.bias.unsigned_abs() < 1 << 61);
            prop_assert_eq!(found.affine.shift, 30);
        }
    }
}
