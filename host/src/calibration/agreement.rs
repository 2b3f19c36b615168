//! How alike a float network and an integer network answer.

use crate::accuracy::top_class;
use crate::dfq::losses::Logits;

/// How alike two networks answer the same images.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Agreement {
    /// Images.
    pub images: usize,
    /// Those that both take for the same class.
    pub agreeing: usize,
    /// Mean `KL(P || Q)` of the answers, in nats.
    pub divergence: f64,
}

impl Agreement {
    /// Of rows of `classes` logits: `expected` in units of 1, `found` in units of 2^-16.
    pub(super) fn new(classes: usize, expected: &[f32], found: &[i32]) -> Self {
        let scaled = |logits: &[f32]| {
            logits
                .iter()
                .map(|logit| (logit * 65536.0) as i32)
                .collect()
        };
        let expected_classes = expected.chunks_exact(classes).map(|row| {
            let row: Vec<i32> = scaled(row);
            top_class(&row)
        });
        let rows = expected_classes.zip(found.chunks_exact(classes));
        let agreeing = rows.filter(|(expected, found)| *expected == top_class(found));
        let agreeing = agreeing.count();
        let real: Vec<f32> = found.iter().map(|logit| *logit as f32 / 65536.0).collect();
        let (expected, found) = (Logits::new(classes, expected), Logits::new(classes, &real));
        Self {
            images: real.len() / classes,
            agreeing,
            divergence: found.divergence_from(&expected, 1.0).value.max(0.0),
        }
    }

    /// Takes in that on other images.
    pub(super) fn add(&mut self, other: &Self) {
        let total = |agreement: &Self| agreement.divergence * agreement.images as f64;
        let images = self.images + other.images;
        self.divergence = (total(self) + total(other)) / images.max(1) as f64;
        self.images = images;
        self.agreeing += other.agreeing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_is_the_mean_over_all_images() {
        let alike = Agreement::new(2, &[1.0, 0.0], &[65536, 0]);
        assert_eq!((alike.agreeing, alike.images), (1, 1));
        assert!(alike.divergence < 1e-9);
        let other = Agreement::new(2, &[1.0, 0.0, 0.0, 2.0], &[0, 65536, 0, 131_072]);
        assert_eq!((other.agreeing, other.images), (1, 2));
        let p = 1.0f64.exp() / (1.0 + 1.0f64.exp());
        let divergence = (2.0 * p - 1.0) / 2.0;
        assert!((other.divergence - divergence).abs() < 1e-6, "{other:?}");
        let mut both = alike;
        both.add(&other);
        assert_eq!((both.agreeing, both.images), (2, 3));
        assert!((both.divergence - 2.0 * divergence / 3.0).abs() < 1e-6);
    }
}
