//! Which prior to calibrate with: the acceptance test chooses.

use lowbit_runtime::calibration::{Metric, Passes, Rejection};

/// Priors to try one after the other, each twice the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Priors {
    /// The first, in images.
    pub first: u32,
    /// Further ones at most.
    pub doublings: u32,
}

impl Priors {
    /// Just this one.
    #[must_use]
    pub fn only(prior: u32) -> Self {
        Self {
            first: prior,
            doublings: 0,
        }
    }

    /// Those for calibration on `images` images. Where few layers follow them, half as many as the
    /// images come first, which gains most under shift and loses most on images like those of the
    /// training data, so that the acceptance test tells the two apart; then as many, and twice as
    /// many. Where all layers follow, smaller priors than twice as many adapt to pure noise, and
    /// larger ones gain nothing that the test refused before; docs/calibration.md has the figures.
    #[must_use]
    pub fn for_images(passes: Passes, images: u32) -> Self {
        match passes {
            Passes::Fast => Self {
                first: images.div_ceil(2),
                doublings: 2,
            },
            Passes::Exact => Self::only(images.saturating_mul(2)),
        }
    }

    /// Calibrates with one prior after the other, by `attempt`, for as long as the result of each,
    /// as `verdict` reads it, is that the network has become worse. Another refusal is final: it is
    /// about the images.
    ///
    /// # Errors
    /// The first one of `attempt`.
    pub fn choose<T, E>(
        self,
        mut attempt: impl FnMut(u32) -> Result<T, E>,
        verdict: impl Fn(&T) -> Result<Metric, Rejection>,
    ) -> Result<Chosen<T>, E> {
        let mut prior = self.first;
        let mut refused = Vec::new();
        loop {
            let attempted = attempt(prior)?;
            match verdict(&attempted) {
                Err(rejection)
                    if rejection.is_loss() && refused.len() < self.doublings as usize =>
                {
                    refused.push(Refused { prior, rejection });
                    prior = prior.saturating_mul(2);
                }
                _ => {
                    return Ok(Chosen {
                        attempt: attempted,
                        prior,
                        refused,
                    });
                }
            }
        }
    }
}

/// The last prior that was tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen<T> {
    /// What came of it, accepted or not.
    pub attempt: T,
    /// Images that the statistics of the training data count as.
    pub prior: u32,
    /// Priors that were refused before it.
    pub refused: Vec<Refused>,
}

/// A prior that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// In images.
    pub prior: u32,
    /// Why.
    pub rejection: Rejection,
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const LOSS: Rejection = Rejection::LessCertain {
        before: 2,
        after: 1,
    };
    const GAIN: Metric = Metric {
        labelled: false,
        before: 1,
        after: 2,
    };

    fn chosen(
        priors: Priors,
        verdict: impl Fn(u32) -> Result<Metric, Rejection>,
    ) -> (u32, Vec<u32>) {
        let chosen = priors.choose(Ok::<_, Infallible>, |prior| verdict(*prior));
        let Ok(chosen) = chosen;
        assert_eq!(chosen.attempt, chosen.prior);
        let refused = chosen.refused.iter().map(|refused| refused.prior);
        (chosen.prior, refused.collect())
    }

    #[test]
    fn the_first_prior_that_is_accepted_is_chosen() {
        let priors = Priors::for_images(Passes::Fast, 128);
        assert_eq!(chosen(priors, |_| Ok(GAIN)), (64, vec![]));
        let large = |prior| if prior > 64 { Ok(GAIN) } else { Err(LOSS) };
        assert_eq!(chosen(priors, large), (128, vec![64]));
        assert_eq!(chosen(priors, |_| Err(LOSS)), (256, vec![64, 128]));
        assert_eq!(chosen(Priors::only(7), |_| Err(LOSS)), (7, vec![]));
        let exact = Priors::for_images(Passes::Exact, 128);
        assert_eq!(chosen(exact, |_| Err(LOSS)), (256, vec![]));
        let largest = Priors {
            first: u32::MAX,
            doublings: 1,
        };
        assert_eq!(chosen(largest, |_| Err(LOSS)).0, u32::MAX);
    }

    #[test]
    fn no_other_prior_makes_up_for_the_images() {
        let priors = Priors::for_images(Passes::Fast, 32);
        let few = Rejection::Classes { found: 1, least: 4 };
        assert_eq!(chosen(priors, |_| Err(few)), (16, vec![]));
    }
}
