//! Losses on the logits of teacher and student, with their exact gradients, in `f64`.
//!
//! With the teacher's logits `zp` and the student's `zq`, the disagreement is
//! `p_ds = softmax(zp - zq)` and the agreement `p_as = softmax(zp + zq)` (Qian, Wang, Hong, Wang:
//! Adaptive Data-Free Quantization, CVPR 2023). Every loss here is a function of either the
//! difference or the sum of the logits; [`Balance`] and the trainer put them together.

use super::Result;
use crate::nn::executor::Forward;

/// Rows of logits, one per sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    classes: usize,
    values: Vec<f64>,
}

/// A loss and its gradient with respect to the logits it was computed from, row after row.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// The loss.
    pub value: f64,
    /// As many numbers as there are logits.
    pub gradient: Vec<f64>,
}

/// A softmax with its logarithm and its entropy, for one sample.
struct Distribution {
    probability: Vec<f64>,
    logarithm: Vec<f64>,
    entropy: f64,
}

impl Logits {
    /// `values` has rows of `classes` numbers.
    #[must_use]
    pub fn new(classes: usize, values: &[f32]) -> Self {
        Self {
            classes,
            values: values.iter().copied().map(f64::from).collect(),
        }
    }

    /// What a network puts out, `[batch, classes]`.
    ///
    /// # Errors
    /// If the output has another shape or is not `f32`.
    pub fn of(forward: &Forward) -> Result<Self> {
        let classes = forward.output().dim(1)?;
        Ok(Self::new(classes, forward.output_values()?))
    }

    /// The same but for one number, moved by `step`.
    #[cfg(test)]
    pub(super) fn moved(&self, index: usize, step: f64) -> Self {
        let mut moved = self.clone();
        moved.values[index] += step;
        moved
    }

    /// Numbers in all rows.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Logits whose softmax is the disagreement of teacher `self` and student `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.combine(other, |p, q| p - q)
    }

    /// Logits whose softmax is the agreement of teacher `self` and student `other`.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.combine(other, |p, q| p + q)
    }

    fn combine(&self, other: &Self, operation: impl Fn(f64, f64) -> f64) -> Self {
        let pairs = self.values.iter().zip(&other.values);
        Self {
            classes: self.classes,
            values: pairs.map(|(&p, &q)| operation(p, q)).collect(),
        }
    }

    fn divided(&self, divisor: f64) -> Self {
        Self {
            classes: self.classes,
            values: self.values.iter().map(|value| value / divisor).collect(),
        }
    }

    fn rows(&self) -> std::slice::ChunksExact<'_, f64> {
        self.values.chunks_exact(self.classes)
    }

    fn samples(&self) -> f64 {
        (self.values.len() / self.classes) as f64
    }

    fn distributions(&self) -> Vec<Distribution> {
        self.rows().map(Distribution::softmax).collect()
    }

    /// Entropy of the softmax of every row, in nats.
    #[must_use]
    pub fn entropies(&self) -> Vec<f64> {
        self.rows()
            .map(|row| Distribution::softmax(row).entropy)
            .collect()
    }

    /// Entropies moved to 0 at the batch's least one and scaled to 1 at that of the uniform
    /// distribution: `(H - min H) / (ln classes - min H)`. NaN if all rows are uniform.
    #[must_use]
    pub fn normalized_entropies(&self) -> Vec<f64> {
        normalize(&self.entropies(), self.highest_entropy())
    }

    fn highest_entropy(&self) -> f64 {
        (self.classes as f64).ln()
    }

    /// What keeps the normalized entropy of the disagreement between `lower` and `upper`:
    /// the mean of `max(lower - H', 0) + max(H' - upper, 0)`. The least entropy of the batch is
    /// part of the gradient; samples that share it share its gradient evenly.
    #[must_use]
    pub fn marginal(&self, lower: f64, upper: f64) -> Loss {
        let distributions = self.distributions();
        let entropies: Vec<f64> = distributions.iter().map(|d| d.entropy).collect();
        let highest = self.highest_entropy();
        let least = least(&entropies);
        let width = highest - least;
        let normalized = normalize(&entropies, highest);

        let value = normalized
            .iter()
            .map(|h| relu(lower - h) + relu(h - upper))
            .sum::<f64>()
            / self.samples();
        let slopes: Vec<f64> = normalized
            .iter()
            .map(|h| (relu_slope(h - upper) - relu_slope(lower - h)) / self.samples())
            .collect();
        let to_least = slopes
            .iter()
            .zip(&entropies)
            .map(|(slope, entropy)| -slope * (highest - entropy) / (width * width))
            .sum::<f64>();
        let holders = entropies
            .iter()
            .filter(|&&entropy| entropy == least)
            .count() as f64;
        let weights = slopes.iter().zip(&entropies).map(|(slope, &entropy)| {
            let share = if entropy == least {
                to_least / holders
            } else {
                0.0
            };
            slope / width + share
        });
        Loss {
            value,
            gradient: entropy_gradient(&distributions, weights),
        }
    }

    /// Mean cross entropy with the class of every sample.
    #[must_use]
    pub fn cross_entropy(&self, labels: &[usize]) -> Loss {
        let distributions = self.distributions();
        let samples = self.samples();
        let pairs = || distributions.iter().zip(labels);
        let value = -pairs().map(|(d, &label)| d.logarithm[label]).sum::<f64>() / samples;
        let mut gradient = Vec::with_capacity(self.values.len());
        for (distribution, &label) in pairs() {
            let target = |class| if class == label { 1.0 } else { 0.0 };
            let row = distribution.probability.iter().enumerate();
            gradient.extend(row.map(|(class, p)| (p - target(class)) / samples));
        }
        Loss { value, gradient }
    }

    /// Mean of the logits of the classes `labels`, themselves.
    #[must_use]
    pub fn class_logit(&self, labels: &[usize]) -> Loss {
        let share = 1.0 / self.samples();
        let mut loss = Loss {
            value: 0.0,
            gradient: vec![0.0; self.values.len()],
        };
        for (row, &label) in labels.iter().enumerate() {
            let index = row * self.classes + label;
            loss.value += share * self.values[index];
            loss.gradient[index] = share;
        }
        loss
    }

    /// `T^2` times the mean divergence `KL(softmax(teacher / T) || softmax(self / T))`, with its
    /// gradient with respect to the logits of `self`.
    #[must_use]
    pub fn divergence_from(&self, teacher: &Self, temperature: f64) -> Loss {
        let from = teacher.divided(temperature).distributions();
        let to = self.divided(temperature).distributions();
        let factor = temperature * temperature / self.samples();
        let mut loss = Loss {
            value: 0.0,
            gradient: Vec::with_capacity(self.values.len()),
        };
        for (p, q) in from.iter().zip(&to) {
            let logarithms = p.logarithm.iter().zip(&q.logarithm);
            let terms = p.probability.iter().zip(logarithms);
            loss.value += factor
                * terms
                    .map(|(p, (log_p, log_q))| p * (log_p - log_q))
                    .sum::<f64>();
            let pairs = p.probability.iter().zip(&q.probability);
            let slopes = pairs.map(|(p, q)| factor / temperature * (q - p));
            loss.gradient.extend(slopes);
        }
        loss
    }

    /// The student's loss on the difference of the logits: `-T^2` times the mean entropy of
    /// `softmax((zp - zq) / T)`. Least, `-T^2 ln classes`, where the logits agree up to a shift.
    #[must_use]
    pub fn negative_entropy(&self, temperature: f64) -> Loss {
        let cooled = self.divided(temperature);
        let distributions = cooled.distributions();
        let factor = -temperature * temperature / self.samples();
        let value = factor * distributions.iter().map(|d| d.entropy).sum::<f64>();
        let weights = distributions.iter().map(|_| factor / temperature);
        Loss {
            value,
            gradient: entropy_gradient(&distributions, weights),
        }
    }
}

impl Distribution {
    fn softmax(logits: &[f64]) -> Self {
        let greatest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|z| (z - greatest).exp()).sum();
        let logarithm: Vec<f64> = logits.iter().map(|z| z - greatest - sum.ln()).collect();
        let probability: Vec<f64> = logarithm.iter().map(|l| l.exp()).collect();
        let entropy = -probability
            .iter()
            .zip(&logarithm)
            .map(|(p, l)| p * l)
            .sum::<f64>();
        Self {
            probability,
            logarithm,
            entropy,
        }
    }
}

/// Gradient of the sum of all entropies, each times its weight, with respect to the logits.
fn entropy_gradient(
    distributions: &[Distribution],
    weights: impl Iterator<Item = f64>,
) -> Vec<f64> {
    let mut gradient = Vec::new();
    for (distribution, weight) in distributions.iter().zip(weights) {
        let pairs = distribution.probability.iter().zip(&distribution.logarithm);
        gradient.extend(pairs.map(|(p, l)| -weight * p * (l + distribution.entropy)));
    }
    gradient
}

fn normalize(entropies: &[f64], highest: f64) -> Vec<f64> {
    let least = least(entropies);
    let width = highest - least;
    entropies
        .iter()
        .map(|entropy| (entropy - least) / width)
        .collect()
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// `max(x, 0)` that keeps a NaN.
fn relu(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
}

/// Slope of `max(x, 0)`: one half at the kink.
fn relu_slope(x: f64) -> f64 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        0.0
    } else {
        0.5
    }
}

/// Weights and bounds of the generator's losses on logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Balance {
    /// Lower bound of the normalized entropy of the disagreement.
    pub lambda_l: f64,
    /// Upper bound of the same.
    pub lambda_u: f64,
    /// Weight of the cross entropy of the disagreement with the label.
    pub alpha_ds: f64,
    /// Weight of the cross entropy of the agreement with the label.
    pub alpha_as: f64,
    /// Weight of both cross entropies together.
    pub beta: f64,
    /// Weight of the bounds on the entropy, 1 in the paper.
    pub margin: f64,
}

/// The generator's losses on logits, and the gradient of `margin * marginal + beta * balance`.
#[derive(Debug, Clone, PartialEq)]
pub struct AdaptabilityLoss {
    /// Keeps the entropy of the disagreement between its bounds.
    pub marginal: f64,
    /// `alpha_ds` and `alpha_as` times the cross entropies.
    pub balance: f64,
    /// With respect to the teacher's logits.
    pub teacher_gradient: Vec<f64>,
    /// With respect to the student's logits.
    pub student_gradient: Vec<f64>,
}

impl Balance {
    /// The generator's losses for `labels`, one class per row of logits.
    #[must_use]
    pub fn loss(&self, teacher: &Logits, student: &Logits, labels: &[usize]) -> AdaptabilityLoss {
        let difference = teacher.minus(student);
        let marginal = difference.marginal(self.lambda_l, self.lambda_u);
        let disagreement = difference.cross_entropy(labels);
        let agreement = teacher.plus(student).cross_entropy(labels);
        let of_difference = |i: usize| {
            self.margin * marginal.gradient[i]
                + self.beta * self.alpha_ds * disagreement.gradient[i]
        };
        let of_sum = |i: usize| self.beta * self.alpha_as * agreement.gradient[i];
        let all = 0..teacher.values.len();
        AdaptabilityLoss {
            marginal: marginal.value,
            balance: self.alpha_ds * disagreement.value + self.alpha_as * agreement.value,
            teacher_gradient: all.clone().map(|i| of_difference(i) + of_sum(i)).collect(),
            student_gradient: all.map(|i| of_sum(i) - of_difference(i)).collect(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
