//! Adaptive data-free quantization (Qian, Wang, Hong, Wang: CVPR 2023).
//!
//! ```text
//! L_G = mean max(lambda_l - H', 0) + mean max(H' - lambda_u, 0)
//!       + beta (alpha_ds CE(p_ds, y) + alpha_as CE(p_as, y)) + gamma BNS
//! L_Q = -T^2 mean H(softmax((zp - zq) / T))
//! ```

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Game, GeneratorLoss, NetworkGradient, Passes, StudentLoss};
use crate::dfq::{Config, Error, Result, losses::Balance, objective::Objective};

/// A part of the generator's loss that can be left out, to see what it brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The cross entropy of the disagreement.
    LDs,
    /// The cross entropy of the agreement.
    LAs,
    /// The bounds of the entropy of the disagreement.
    Margin,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 3] = [Self::LDs, Self::LAs, Self::Margin];

    /// What the user calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LDs => "l_ds",
            Self::LAs => "l_as",
            Self::Margin => "margin",
        }
    }
}

impl FromStr for Part {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|part| part.name() == text);
        found.ok_or_else(|| Error::Part {
            name: text.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

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
            value: self.balance.margin * loss.marginal + self.balance.beta * loss.balance,
            marginal: loss.marginal,
            balance: loss.balance,
            teacher: NetworkGradient::of_logits(loss.teacher_gradient),
            student: Some(NetworkGradient::of_logits(loss.student_gradient)),
        })
    }

    fn student_loss(&self, passes: &Passes<'_>) -> Result<StudentLoss> {
        self.student.loss(passes)
    }
}
