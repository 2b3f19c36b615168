//! Settings of a training run.

mod bits;
mod layers;
mod preset;
mod widths;

use serde::{Deserialize, Serialize};

pub use bits::Bits;
pub(super) use layers::explain;
pub use layers::resolve;
pub use preset::Preset;
pub use widths::{NodeWidths, Widths};

use super::{
    Error, Method, Result,
    device::{DeviceName, Rounding},
    losses::Balance,
    methods::Part,
    observer::StartCorrection,
    ranges::{RangeChoice, RangeRule},
    refinement::Settings as Refinement,
    stages::{AdaptiveBatchNorm, Estimate, Stage},
    synthesis::Synthesis,
};

/// Settings of a training run. The defaults are those of the `cifar10` preset at `w4a4`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the settings started from; it also says how pixels are normalised by default.
    pub preset: Preset,
    /// What generator and student descend.
    pub method: Method,
    /// Widths of weights and activations.
    pub bits: Widths,
    /// Epochs in all, warm-up included.
    pub epochs: usize,
    /// Epochs at the start in which only the generator learns.
    pub warmup_epochs: usize,
    /// Epochs at the start in which activation ranges follow the batches; frozen from then on.
    pub observe_epochs: usize,
    /// Iterations per epoch.
    pub iterations: usize,
    /// Images per iteration.
    pub batch: usize,
    /// Numbers of noise per image.
    pub latent: usize,
    /// Initial step size of the student.
    pub student_learning_rate: f64,
    /// Initial step size of the generator.
    pub generator_learning_rate: f64,
    /// Epochs after which both step sizes drop to a tenth.
    pub learning_rate_steps: Vec<usize>,
    /// Nesterov's momentum of the student.
    pub momentum: f64,
    /// Weight decay of the student.
    pub weight_decay: f64,
    /// Lower bound of the normalized entropy of the disagreement.
    pub lambda_l: f64,
    /// Upper bound of the same.
    pub lambda_u: f64,
    /// Weight of the disagreement's cross entropy.
    pub alpha_ds: f64,
    /// Weight of the agreement's cross entropy.
    pub alpha_as: f64,
    /// Weight of both cross entropies together.
    pub beta: f64,
    /// Parts of AdaDFQ's loss of the generator that are left out.
    pub without: Vec<Part>,
    /// Weight of the divergence in GDFQ's loss of the student.
    pub alpha: f64,
    /// Weight of the loss on BatchNorm statistics.
    pub gamma: f64,
    /// Temperature of the student's loss.
    pub temperature: f64,
    /// Where training runs.
    pub device: DeviceName,
    /// Multiply matrices on a GPU with 10 bits of fraction.
    pub tf32: bool,
    /// Compute generator and teacher on a GPU with 7 bits of fraction.
    pub bf16: bool,
    /// Batches through every BatchNorm of the student once all else is done, to re-estimate its
    /// statistics; 0 leaves them as they are.
    pub batch_norm_batches: usize,
    /// Whether these statistics are taken over, or only what sets them apart from those of the
    /// float network on the same images.
    pub batch_norm_estimate: Estimate,
    /// Share of the newest batch in statistics that are taken over.
    pub batch_norm_momentum: f64,
    /// How ranges are chosen from what the float network makes of a set of images, by a method that
    /// trains nothing.
    pub ranges: RangeChoice,
    /// Percent of the values that the choice `percentile` keeps at each end.
    pub percentile: f64,
    /// Images optimised from noise, for a method that trains nothing.
    pub synthesis: Synthesis,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Follow the activation ranges with the published code's recursion, which needs some 240
    /// updates to forget its start, instead of the textbook's.
    pub reference_ema: bool,
    /// What follows the game.
    pub refinement: Refinement,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            preset: Preset::Cifar10,
            method: Method::default(),
            bits: Widths::from(Bits {
                weights: 4,
                activations: 4,
            }),
            epochs: 400,
            warmup_epochs: 4,
            observe_epochs: 4,
            iterations: 200,
            batch: 16,
            latent: 100,
            student_learning_rate: 1e-4,
            generator_learning_rate: 1e-3,
            learning_rate_steps: vec![100, 200, 300],
            momentum: 0.9,
            weight_decay: 1e-4,
            lambda_l: 0.1,
            lambda_u: 0.8,
            alpha_ds: 0.2,
            alpha_as: 0.1,
            beta: 1.0,
            without: Vec::new(),
            alpha: 1.0,
            gamma: 1.0,
            temperature: 20.0,
            device: DeviceName::default(),
            tf32: false,
            bf16: false,
            batch_norm_batches: 0,
            batch_norm_estimate: Estimate::Running,
            batch_norm_momentum: 0.1,
            ranges: RangeChoice::MinMax,
            percentile: 99.9,
            synthesis: Synthesis::default(),
            seed: 0,
            reference_ema: false,
            refinement: Refinement::default(),
        }
    }
}

impl Config {
    /// How precisely the device multiplies.
    #[must_use]
    pub fn rounding(&self) -> Rounding {
        Rounding {
            tf32: self.tf32,
            bf16: self.bf16,
        }
    }

    /// Whether a run with these settings may go on with the others: all are equal but for where it
    /// is computed.
    #[must_use]
    pub fn may_go_on_as(&self, other: &Self) -> bool {
        let elsewhere = Self {
            device: other.device,
            tf32: other.tf32,
            bf16: other.bf16,
            ..self.clone()
        };
        elsewhere == *other
    }

    /// Checks what the types leave open.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting that makes no sense.
    pub fn check(&self) -> Result<()> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let not_negative = |x: f64| x.is_finite() && x >= 0.0;
        let bounds = 0.0 <= self.lambda_l && self.lambda_l < self.lambda_u && self.lambda_u <= 1.0;
        let checks = [
            ("epochs", self.epochs > 0, "at least 1"),
            ("observe_epochs", self.observe_epochs > 0, "at least 1"),
            ("iterations", self.iterations > 0, "at least 1"),
            (
                "batch",
                self.batch > 1,
                "at least 2, as losses compare samples",
            ),
            ("latent", self.latent > 0, "at least 1"),
            (
                "student_learning_rate",
                positive(self.student_learning_rate),
                "a positive number",
            ),
            (
                "generator_learning_rate",
                positive(self.generator_learning_rate),
                "a positive number",
            ),
            (
                "momentum",
                (0.0..1.0).contains(&self.momentum),
                "at least 0 and below 1",
            ),
            (
                "weight_decay",
                not_negative(self.weight_decay),
                "0 or a positive number",
            ),
            (
                "lambda_l",
                bounds,
                "at least 0 and below `lambda_u`, which is at most 1",
            ),
            (
                "alpha_ds",
                not_negative(self.alpha_ds),
                "0 or a positive number",
            ),
            (
                "alpha_as",
                not_negative(self.alpha_as),
                "0 or a positive number",
            ),
            ("alpha", not_negative(self.alpha), "0 or a positive number"),
            (
                "batch_norm_momentum",
                positive(self.batch_norm_momentum) && self.batch_norm_momentum <= 1.0,
                "above 0 and at most 1",
            ),
            (
                "percentile",
                50.0 < self.percentile && self.percentile <= 100.0,
                "above 50 and at most 100",
            ),
            ("beta", not_negative(self.beta), "0 or a positive number"),
            ("gamma", not_negative(self.gamma), "0 or a positive number"),
            (
                "temperature",
                positive(self.temperature),
                "a positive number",
            ),
        ];
        if let Some((name, _, expected)) = checks.into_iter().find(|(_, fine, _)| !fine) {
            return Err(Error::Setting { name, expected });
        }
        if let Some((name, expected)) = self.refinement.first_wrong() {
            return Err(Error::Setting { name, expected });
        }
        if self.refinement.epochs > 0 && self.batch_norm_batches > 0 {
            return Err(Error::Setting {
                name: "batch_norm_batches",
                expected: "0 if a refinement follows, which trains the BatchNorms itself",
            });
        }
        self.device.check(self.rounding())?;
        self.synthesis.check()?;
        if self.method != Method::Adadfq && !self.without.is_empty() {
            return Err(Error::Unused {
                name: "without",
                method: self.method,
            });
        }
        Ok(())
    }

    /// What follows once training is over, or ranges are known.
    #[must_use]
    pub fn stages(&self) -> Vec<Box<dyn Stage>> {
        let mut stages: Vec<Box<dyn Stage>> = Vec::new();
        if self.batch_norm_batches > 0 {
            stages.push(Box::new(AdaptiveBatchNorm {
                batches: self.batch_norm_batches,
                momentum: self.batch_norm_momentum,
                estimate: self.batch_norm_estimate,
            }));
        }
        stages
    }

    /// How a method that trains nothing chooses ranges.
    #[must_use]
    pub fn range_rule(&self) -> RangeRule {
        RangeRule {
            choice: self.ranges,
            percentile: self.percentile,
        }
    }

    /// Epochs of the game and of the refinement.
    #[must_use]
    pub fn all_epochs(&self) -> usize {
        self.epochs + self.refinement.epochs
    }

    /// How the activation ranges follow the batches.
    #[must_use]
    pub fn start_correction(&self) -> StartCorrection {
        if self.reference_ema {
            StartCorrection::FedBack
        } else {
            StartCorrection::Textbook
        }
    }

    /// Bounds and weights of the generator's losses on logits, without the parts left out.
    #[must_use]
    pub fn balance(&self) -> Balance {
        let unless = |part, weight| {
            if self.without.contains(&part) {
                0.0
            } else {
                weight
            }
        };
        Balance {
            lambda_l: self.lambda_l,
            lambda_u: self.lambda_u,
            alpha_ds: unless(Part::LDs, self.alpha_ds),
            alpha_as: unless(Part::LAs, self.alpha_as),
            beta: self.beta,
            margin: unless(Part::Margin, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_settings_are_refused() {
        let error = toml::from_str::<Config>("epoch = 3")
            .unwrap_err()
            .to_string();
        assert!(error.contains("epoch"), "{error}");
        let error = toml::from_str::<Config>("bits = \"w9a9\"")
            .unwrap_err()
            .to_string();
        assert!(error.contains("w9a9"), "{error}");
    }

    #[test]
    fn parts_are_left_out_of_adadfq_only() {
        let config: Config = toml::from_str("without = [\"l_ds\", \"margin\"]").unwrap();
        config.check().unwrap();
        let balance = config.balance();
        assert_eq!(
            (balance.alpha_ds, balance.alpha_as, balance.margin),
            (0.0, 0.1, 0.0)
        );
        let other = Config {
            method: Method::Gdfq,
            ..config
        };
        let error = other.check().unwrap_err().to_string();
        assert!(
            error.contains("`without`") && error.contains("`gdfq`"),
            "{error}"
        );
    }

    #[test]
    fn senseless_settings_are_named() {
        let config = Config {
            lambda_l: 0.9,
            ..Config::default()
        };
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains("lambda_l"), "{error}");
    }
}
