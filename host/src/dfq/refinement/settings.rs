//! Settings of the refinement.

use serde::{Deserialize, Serialize};

/// Settings of the refinement that may follow the game. Without epochs there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Refinement {
    /// Epochs after those of the game, as long as these, in which the student learns from a fixed
    /// pool of images.
    pub epochs: usize,
    /// Images per iteration.
    pub batch: usize,
    /// Images in the pool: batches of the game, evenly spread over the epochs in which the student
    /// learns.
    pub pool: usize,
    /// Initial step size of weights, biases and BatchNorms, in Adam's steps; it follows half a
    /// cosine to 0.
    pub learning_rate: f64,
    /// The same of the logarithms of the weights' quantization steps; 0 keeps these as they are.
    pub weight_range_learning_rate: f64,
    /// The same of the logarithms of the activations' quantization steps.
    pub activation_range_learning_rate: f64,
    /// Start from the ranges with the least squared error instead of minimum and maximum.
    pub fitted_ranges: bool,
    /// Weight of the divergence of the student's logits from the teacher's.
    pub divergence: f64,
    /// Temperature of that divergence.
    pub temperature: f64,
    /// Weight of the relative squared difference of the outputs of all residual blocks.
    pub alignment: f64,
    /// Share of the elements of every activation that an iteration leaves unquantized (QDrop).
    pub dropped: f64,
}

impl Default for Refinement {
    fn default() -> Self {
        Self {
            epochs: 0,
            batch: 32,
            pool: 4096,
            learning_rate: 1e-3,
            weight_range_learning_rate: 1e-3,
            activation_range_learning_rate: 3e-3,
            fitted_ranges: true,
            divergence: 1.0,
            temperature: 4.0,
            alignment: 30.0,
            dropped: 0.0,
        }
    }
}

impl Refinement {
    /// Name and permitted values of the first setting that makes no sense.
    pub(in crate::dfq) fn first_wrong(&self) -> Option<(&'static str, &'static str)> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let not_negative = |x: f64| x.is_finite() && x >= 0.0;
        let number = "0 or a positive number";
        let checks = [
            ("refinement.batch", self.batch > 0, "at least 1"),
            ("refinement.pool", self.pool > 0, "at least 1"),
            (
                "refinement.learning_rate",
                positive(self.learning_rate),
                "a positive number",
            ),
            (
                "refinement.weight_range_learning_rate",
                not_negative(self.weight_range_learning_rate),
                number,
            ),
            (
                "refinement.activation_range_learning_rate",
                not_negative(self.activation_range_learning_rate),
                number,
            ),
            (
                "refinement.temperature",
                positive(self.temperature),
                "a positive number",
            ),
            (
                "refinement.divergence",
                not_negative(self.divergence),
                number,
            ),
            (
                "refinement.alignment",
                not_negative(self.alignment) && self.alignment + self.divergence > 0.0,
                "0 or a positive number, and not 0 together with `refinement.divergence`",
            ),
            (
                "refinement.dropped",
                (0.0..1.0).contains(&self.dropped),
                "at least 0 and below 1",
            ),
        ];
        let wrong = checks.into_iter().find(|(_, fine, _)| !fine);
        wrong.map(|(name, _, expected)| (name, expected))
    }
}
