//! Generative low-bitwidth data-free quantization (Xu et al.: ECCV 2020).
//!
//! ```text
//! L_G = CE(zp, y) + gamma BNS                         gamma = 0.1
//! L_Q = alpha T^2 KL(softmax(zp / T) || softmax(zq / T)) + CE(zq, y)
//! ```
//! The published code divides the divergence by the number of classes as well, which is a smaller
//! `alpha`.

use super::{Game, GeneratorLoss, NetworkGradient, Passes, StudentLoss};
use crate::dfq::{
    Config, Result,
    objective::{Objective, Term},
};

/// GDFQ's losses.
#[derive(Debug, Clone)]
pub struct Gdfq {
    student: Objective,
}

impl Gdfq {
    /// With the temperature and the weight `alpha` of `config`.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let divergence = Term::Divergence {
            temperature: config.temperature,
        };
        Self {
            student: Objective {
                terms: vec![(config.alpha, divergence), (1.0, Term::CrossEntropy)],
            },
        }
    }

    /// What differs from the settings for AdaDFQ. The batch of 200 was chosen for CIFAR.
    #[must_use]
    pub fn settings(config: Config) -> Config {
        Config {
            gamma: 0.1,
            temperature: 20.0,
            ..config
        }
    }
}

impl Game for Gdfq {
    fn generator_loss(&self, passes: &Passes<'_>) -> Result<GeneratorLoss> {
        let loss = passes.teacher_logits.cross_entropy(passes.labels);
        Ok(GeneratorLoss {
            value: loss.value,
            marginal: 0.0,
            balance: loss.value,
            teacher: NetworkGradient::of_logits(loss.gradient),
            student: None,
        })
    }

    fn student_loss(&self, passes: &Passes<'_>) -> Result<StudentLoss> {
        self.student.loss(passes)
    }
}
