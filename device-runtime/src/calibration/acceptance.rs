//! Whether a calibration is to be kept.

use serde::{Deserialize, Serialize};

/// What the inputs of a trial run led to, with one set of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial<'a> {
    /// Inputs that were run.
    pub images: u32,
    /// Inputs per class of the largest logit.
    pub histogram: &'a [u32],
    /// Sum over the inputs of the distance between the two largest logits, in units of 2^-16.
    pub margins: u64,
    /// Golden inputs whose largest logit is that of the stored one.
    pub golden_agreeing: u32,
    /// Golden inputs that were run.
    pub golden_images: u32,
}

/// What is known about a calibration before it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence<'a> {
    /// Images that statistics were collected from.
    pub images: u32,
    /// Inputs per class of the largest logit among these.
    pub histogram: &'a [u32],
    /// Channels that got new parameters.
    pub channels: u32,
    /// Channels among them that were not followed all the way.
    pub clamped: u32,
    /// With the parameters in use, on inputs that no statistics were collected from.
    pub before: Trial<'a>,
    /// With the new ones, on the same inputs.
    pub after: Trial<'a>,
    /// Correct answers before and after, where the host has sent labels.
    pub correct: Option<[u32; 2]>,
}

/// How cautious to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guards {
    /// Least number of images.
    pub images: u32,
    /// Most clamped channels, in thousandths.
    pub clamped_permille: u32,
    /// Least number of classes that occur, if there are as many.
    pub classes: u32,
    /// Most inputs of one class, in thousandths.
    pub share_permille: u32,
    /// Most that the largest class's share may rise by, in thousandths.
    pub share_rise_permille: u32,
    /// Most that the agreement with the golden answers may fall by, in thousandths. Any by default:
    /// these inputs come from a generator and not from the sensor, and a network that has adapted
    /// to the sensor answers up to nine tenths of them otherwise, as measured in
    /// docs/calibration.md.
    pub golden_fall_permille: u32,
    /// Golden inputs without which their agreement says nothing.
    pub golden_images: u32,
    /// Take inputs of few classes.
    pub force_diversity: bool,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            images: 32,
            clamped_permille: 100,
            classes: 4,
            share_permille: 600,
            share_rise_permille: 100,
            golden_fall_permille: 1000,
            golden_images: 10,
            force_diversity: false,
        }
    }
}

/// The figure that a calibration was judged by, before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metric {
    /// Thousandths of correct answers, not the mean margin in units of 2^-16.
    pub labelled: bool,
    /// With the parameters in use.
    pub before: u32,
    /// With the new ones.
    pub after: u32,
}

/// Why a calibration is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// Too few images to tell anything.
    #[error("{found} images are too few, at least {least} are needed")]
    Images {
        /// Images that came.
        found: u32,
        /// Images needed.
        least: u32,
    },
    /// The inputs are too far from what the network knows.
    #[error("{clamped} of {channels} channels are out of reach, more than {most_permille} in 1000")]
    Clamped {
        /// Channels that were not followed all the way.
        clamped: u32,
        /// All channels.
        channels: u32,
        /// Most, in thousandths.
        most_permille: u32,
    },
    /// The inputs hold too few classes.
    #[error("the inputs are taken for {found} classes only, at least {least} are needed")]
    Classes {
        /// Classes that occur.
        found: u32,
        /// Classes needed.
        least: u32,
    },
    /// Most inputs are of one class.
    #[error("{permille} in 1000 inputs are taken for class {class}, more than {most}")]
    OneClass {
        /// The class.
        class: u32,
        /// Its share.
        permille: u32,
        /// Most, in thousandths.
        most: u32,
    },
    /// It answers fewer inputs correctly.
    #[error("{after} correct answers instead of {before}")]
    LessAccurate {
        /// Before.
        before: u32,
        /// After.
        after: u32,
    },
    /// It is less certain of its answers.
    #[error("the mean margin falls from {before} to {after} (in 2^-16)")]
    LessCertain {
        /// Before.
        before: u32,
        /// After.
        after: u32,
    },
    /// It tends to one class.
    #[error("the largest class's share rises from {before} to {after} in 1000")]
    Collapsing {
        /// Before.
        before: u32,
        /// After.
        after: u32,
    },
    /// It forgets what it knew.
    #[error("{after} golden inputs in 1000 are answered as before, {before} were")]
    Golden {
        /// Before.
        before: u32,
        /// After.
        after: u32,
    },
}

impl Rejection {
    /// Whether the new parameters fell short of those in use by the figure that decides. Parameters
    /// closer to the factory's, which a larger prior gives, may not.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::LessAccurate { .. } | Self::LessCertain { .. })
    }
}

/// Whether to keep a calibration, and the figure that says so.
///
/// With labels the number of correct answers decides; without, the mean margin may not fall, no
/// class may gain much, and the golden inputs must still be answered as before.
///
/// # Errors
/// The first test that it did not pass, with the numbers.
pub fn judge(evidence: &Evidence<'_>, guards: &Guards) -> Result<Metric, Rejection> {
    structure(evidence, guards)?;
    if !guards.force_diversity {
        diversity(evidence.histogram, guards)?;
    }
    match evidence.correct {
        Some([before, after]) => with_labels(before, after, evidence.after.images),
        None => without_labels(&evidence.before, &evidence.after, guards),
    }
}

fn structure(evidence: &Evidence<'_>, guards: &Guards) -> Result<(), Rejection> {
    if evidence.images < guards.images {
        return Err(Rejection::Images {
            found: evidence.images,
            least: guards.images,
        });
    }
    if permille(evidence.clamped.into(), evidence.channels.into()) > guards.clamped_permille {
        return Err(Rejection::Clamped {
            clamped: evidence.clamped,
            channels: evidence.channels,
            most_permille: guards.clamped_permille,
        });
    }
    Ok(())
}

fn diversity(histogram: &[u32], guards: &Guards) -> Result<(), Rejection> {
    let found = histogram.iter().filter(|count| **count > 0).count() as u32;
    let least = guards.classes.min(histogram.len() as u32);
    if found < least {
        return Err(Rejection::Classes { found, least });
    }
    let (class, share) = largest_share(histogram);
    if share > guards.share_permille && histogram.len() > 1 {
        return Err(Rejection::OneClass {
            class,
            permille: share,
            most: guards.share_permille,
        });
    }
    Ok(())
}

fn with_labels(before: u32, after: u32, images: u32) -> Result<Metric, Rejection> {
    if after < before {
        return Err(Rejection::LessAccurate { before, after });
    }
    Ok(Metric {
        labelled: true,
        before: permille(before.into(), images.into()),
        after: permille(after.into(), images.into()),
    })
}

fn without_labels(
    before: &Trial<'_>,
    after: &Trial<'_>,
    guards: &Guards,
) -> Result<Metric, Rejection> {
    let metric = Metric {
        labelled: false,
        before: before.mean_margin(),
        after: after.mean_margin(),
    };
    if metric.after < metric.before {
        return Err(Rejection::LessCertain {
            before: metric.before,
            after: metric.after,
        });
    }
    let shares = [before, after].map(|trial| largest_share(trial.histogram).1);
    if shares[1] > shares[0].saturating_add(guards.share_rise_permille) {
        return Err(Rejection::Collapsing {
            before: shares[0],
            after: shares[1],
        });
    }
    let golden = [before, after].map(Trial::golden_permille);
    let is_known = after.golden_images >= guards.golden_images;
    if is_known && golden[1].saturating_add(guards.golden_fall_permille) < golden[0] {
        return Err(Rejection::Golden {
            before: golden[0],
            after: golden[1],
        });
    }
    Ok(metric)
}

impl Trial<'_> {
    fn mean_margin(&self) -> u32 {
        let mean = self.margins.checked_div(self.images.into());
        mean.unwrap_or_default().min(u32::MAX.into()) as u32
    }

    fn golden_permille(&self) -> u32 {
        permille(self.golden_agreeing.into(), self.golden_images.into())
    }
}

/// The class that occurs most often, the lowest on ties, and its share in thousandths.
fn largest_share(histogram: &[u32]) -> (u32, u32) {
    let mut largest = (0u32, 0u32);
    let mut total = 0u64;
    for (class, count) in (0u32..).zip(histogram) {
        total += u64::from(*count);
        if *count > largest.1 {
            largest = (class, *count);
        }
    }
    (largest.0, permille(largest.1.into(), total))
}

fn permille(part: u64, whole: u64) -> u32 {
    part.saturating_mul(1000)
        .checked_div(whole)
        .unwrap_or_default() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIVERSE: [u32; 10] = [13; 10];
    const TRIAL: Trial<'static> = Trial {
        images: 130,
        histogram: &DIVERSE,
        margins: 130 << 16,
        golden_agreeing: 16,
        golden_images: 16,
    };
    const EVIDENCE: Evidence<'static> = Evidence {
        images: 128,
        histogram: &DIVERSE,
        channels: 100,
        clamped: 10,
        before: TRIAL,
        after: TRIAL,
        correct: None,
    };

    fn judged(evidence: &Evidence<'_>) -> Result<Metric, Rejection> {
        judge(evidence, &Guards::default())
    }

    #[test]
    fn no_change_is_accepted() {
        let metric = judged(&EVIDENCE).unwrap();
        assert_eq!(
            (metric.labelled, metric.before, metric.after),
            (false, 65536, 65536)
        );
    }

    #[test]
    fn few_images_and_many_clamped_channels_are_refused() {
        let few = Evidence {
            images: 31,
            ..EVIDENCE
        };
        assert_eq!(
            judged(&few),
            Err(Rejection::Images {
                found: 31,
                least: 32
            })
        );
        let clamped = Evidence {
            clamped: 11,
            ..EVIDENCE
        };
        assert!(matches!(
            judged(&clamped),
            Err(Rejection::Clamped { clamped: 11, .. })
        ));
    }

    #[test]
    fn inputs_of_few_classes_are_refused_unless_forced() {
        let one = [0, 0, 128, 0, 0, 0, 0, 0, 0, 0];
        let evidence = Evidence {
            histogram: &one,
            ..EVIDENCE
        };
        assert_eq!(
            judged(&evidence),
            Err(Rejection::Classes { found: 1, least: 4 })
        );
        let most = [10, 10, 100, 8, 0, 0, 0, 0, 0, 0];
        let lopsided = Evidence {
            histogram: &most,
            ..EVIDENCE
        };
        assert_eq!(
            judged(&lopsided),
            Err(Rejection::OneClass {
                class: 2,
                permille: 781,
                most: 600
            })
        );
        let guards = Guards {
            force_diversity: true,
            ..Guards::default()
        };
        assert!(judge(&evidence, &guards).is_ok());
        let two = Evidence {
            histogram: &[70, 58],
            ..EVIDENCE
        };
        assert!(
            judged(&two).is_ok(),
            "a network of two classes cannot show four"
        );
    }

    #[test]
    fn labels_decide_where_there_are_any() {
        let better = Evidence {
            correct: Some([80, 81]),
            ..EVIDENCE
        };
        assert_eq!(
            judged(&better).unwrap(),
            Metric {
                labelled: true,
                before: 615,
                after: 623
            }
        );
        let worse = Evidence {
            correct: Some([80, 79]),
            ..EVIDENCE
        };
        assert_eq!(
            judged(&worse),
            Err(Rejection::LessAccurate {
                before: 80,
                after: 79
            })
        );
    }

    #[test]
    fn without_labels_certainty_shares_and_golden_answers_decide() {
        let after = |after| judged(&Evidence { after, ..EVIDENCE });
        let uncertain = after(Trial {
            margins: TRIAL.margins - 130,
            ..TRIAL
        });
        assert!(matches!(
            uncertain,
            Err(Rejection::LessCertain { after: 65535, .. })
        ));
        let lopsided = [28, 13, 13, 13, 13, 10, 10, 10, 10, 10];
        let collapsing = after(Trial {
            histogram: &lopsided,
            ..TRIAL
        });
        assert_eq!(
            collapsing,
            Err(Rejection::Collapsing {
                before: 100,
                after: 215
            })
        );
        let strict = Guards {
            golden_fall_permille: 100,
            ..Guards::default()
        };
        let after = |after| judge(&Evidence { after, ..EVIDENCE }, &strict);
        let forgetful = Trial {
            golden_agreeing: 14,
            ..TRIAL
        };
        assert_eq!(
            after(forgetful),
            Err(Rejection::Golden {
                before: 1000,
                after: 875
            })
        );
        let few = Trial {
            golden_images: 9,
            golden_agreeing: 0,
            ..TRIAL
        };
        assert!(after(few).is_ok(), "nine golden inputs say nothing");
    }
}
