//! Adaptive data-free quantization (Qian, Wang, Hong, Wang: CVPR 2023).
//!
//! ```text
//! L_G = mean max(lambda_l - H', 0) + mean max(H' - lambda_u, 0)
//!       + beta (alpha_ds CE(p_ds, y) + alpha_as CE(p_as, y)) + gamma BNS
//! L_Q = -T^2 mean H(softmax((zp - zq) / T))
//! ```

use super::{Game, GeneratorLoss, NetworkGradient, Passes, StudentLoss};
use crate::dfq::{Config, Result, losses::Balance, objective::Objective};

/// The paper's losses.
#[derive(Debug, Clone)]
pub struct Adadfq {
    balance: Balance,
    student: Objective,
}

impl Adadfq {
    /// With the weights and bounds of `config`.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            balance: config.balance(),
            student: Objective::entropy(config.temperature),
        }
    }
}

impl Game for Adadfq {
    fn generator_loss(&self, passes: &Passes<'_>) -> Result<GeneratorLoss> {
        let loss = self.balance.loss(
            &passes.teacher_logits,
            &passes.student_logits,
            passes.labels,
        );
        Ok(GeneratorLoss {
            value: loss.marginal + self.balance.beta * loss.balance,
            marginal: loss.marginal,
            balance: loss.balance,
            teacher: NetworkGradient::of_logits(loss.teacher_gradient),
            student: NetworkGradient::of_logits(loss.student_gradient),
        })
    }

    fn student_loss(&self, passes: &Passes<'_>) -> Result<StudentLoss> {
        self.student.loss(passes)
    }
}
