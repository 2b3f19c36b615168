//! What a network makes of images.

use lowbit_runtime::calibration;

/// What a network makes of images, for the acceptance test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Images that were run.
    pub images: u32,
    /// Images per class of the largest logit.
    pub histogram: Vec<u32>,
    /// Sum of the distances between the two largest logits, in 2^-16.
    pub margins: u64,
    /// Images whose largest logit is that of their label.
    pub correct: u32,
}

impl Trial {
    /// Of `logits`, image after image one per class; images without a label count as wrong.
    #[must_use]
    pub fn new(logits: &[i32], classes: usize, labels: &[u16]) -> Self {
        let mut trial = Self {
            images: 0,
            histogram: vec![0; classes],
            margins: 0,
            correct: 0,
        };
        for (image, logits) in logits.chunks_exact(classes.max(1)).enumerate() {
            let answer = calibration::Answer::of(logits.iter().copied());
            trial.images += 1;
            trial.histogram[usize::from(answer.class)] += 1;
            trial.margins += u64::from(answer.margin);
            trial.correct += u32::from(labels.get(image) == Some(&answer.class));
        }
        trial
    }

    /// The same for the acceptance test.
    pub(super) fn evidence(
        &self,
        golden_agreeing: u32,
        golden_images: u32,
    ) -> calibration::Trial<'_> {
        calibration::Trial {
            images: self.images,
            histogram: &self.histogram,
            margins: self.margins,
            golden_agreeing,
            golden_images,
        }
    }

    /// Correct images in percent, 0 without images.
    #[must_use]
    pub fn top1(&self) -> f64 {
        100.0 * f64::from(self.correct) / f64::from(self.images.max(1))
    }

    /// Mean distance between the two largest logits.
    #[must_use]
    pub fn mean_margin(&self) -> f64 {
        self.margins as f64 / f64::from(self.images.max(1)) / 65536.0
    }
}
