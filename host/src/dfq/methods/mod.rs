//! Methods: what the generator and the student descend. Generator, quantizers and loop are shared.

mod aac_abn;
mod adadfq;
mod gdfq;
mod ptq;
mod zeroq;

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

pub use adadfq::{Adadfq, Part};
pub use gdfq::Gdfq;

use super::{Config, Error, Result, direct::Recipe, losses::Logits};
use crate::{graph::NodeId, nn::executor::Forward};

/// A method by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Adaptive data-free quantization (CVPR 2023).
    #[default]
    Adadfq,
    /// Generative data-free quantization (ECCV 2020).
    Gdfq,
    /// Ranges from peaks of activations, adaptive BatchNorm (2022).
    AacAbn,
    /// Ranges from images with the statistics of the training data, as in ZeroQ (CVPR 2020).
    Zeroq,
    /// Ranges from the user's images.
    Ptq,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 5] = [
        Self::Adadfq,
        Self::Gdfq,
        Self::AacAbn,
        Self::Zeroq,
        Self::Ptq,
    ];

    /// What the user calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Adadfq => "adadfq",
            Self::Gdfq => "gdfq",
            Self::AacAbn => "aac-abn",
            Self::Zeroq => "zeroq",
            Self::Ptq => "ptq",
        }
    }

    /// What its authors call it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Adadfq => "AdaDFQ",
            Self::Gdfq => "GDFQ",
            Self::AacAbn => "AAC-ABN",
            Self::Zeroq => "ZeroQ",
            Self::Ptq => "PTQ",
        }
    }

    /// The settings of a preset, `config`, with those that the method itself brings.
    #[must_use]
    pub fn settings(self, config: Config) -> Config {
        let config = Config {
            method: self,
            ..config
        };
        match self {
            Self::Adadfq | Self::Ptq => config,
            Self::Gdfq => Gdfq::settings(config),
            Self::AacAbn => aac_abn::settings(config),
            Self::Zeroq => zeroq::settings(config),
        }
    }

    /// Its losses under the settings of `config`, `None` if it trains nothing.
    #[must_use]
    pub fn game(self, config: &Config) -> Option<Arc<dyn Game>> {
        match self {
            Self::Adadfq => Some(Arc::new(Adadfq::new(config))),
            Self::Gdfq => Some(Arc::new(Gdfq::new(config))),
            Self::AacAbn | Self::Zeroq | Self::Ptq => None,
        }
    }

    /// What it does under the settings of `config` if it trains nothing.
    #[must_use]
    pub fn recipe(self, config: &Config) -> Option<Recipe> {
        match self {
            Self::Adadfq | Self::Gdfq => None,
            Self::AacAbn => Some(aac_abn::recipe(config)),
            Self::Zeroq => Some(zeroq::recipe(config)),
            Self::Ptq => Some(ptq::recipe(config)),
        }
    }

    /// Whether generator and student are trained.
    #[must_use]
    pub const fn trains(self) -> bool {
        matches!(self, Self::Adadfq | Self::Gdfq)
    }

    /// Whether it takes images of the user.
    #[must_use]
    pub const fn takes_images(self) -> bool {
        matches!(self, Self::Ptq)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|method| method.name() == text)
            .ok_or_else(|| Error::Method {
                name: text.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            })
    }
}

/// The losses of generator and student, all that one method of training has to itself. The loss on
/// the BatchNorm statistics of the teacher is common to all and weighed by [`Config::gamma`].
pub trait Game: fmt::Debug + Send + Sync {
    /// What the generator descends beside the loss on BatchNorm statistics.
    ///
    /// # Errors
    /// If the passes do not hold what the loss needs.
    fn generator_loss(&self, passes: &Passes<'_>) -> Result<GeneratorLoss>;

    /// What the student descends.
    ///
    /// # Errors
    /// If the passes do not hold what the loss needs.
    fn student_loss(&self, passes: &Passes<'_>) -> Result<StudentLoss>;
}

/// One batch of images through teacher and student.
#[derive(Debug)]
pub struct Passes<'a> {
    /// The class that every image was made for.
    pub labels: &'a [usize],
    /// Through the teacher, with the values of all nodes.
    pub teacher: &'a Forward,
    /// Through the student, with the values of all nodes.
    pub student: &'a Forward,
    /// Of the teacher.
    pub teacher_logits: Logits,
    /// Of the student.
    pub student_logits: Logits,
}

/// Gradient of a loss with respect to what a network computed.
#[derive(Debug, Clone, Default)]
pub struct NetworkGradient {
    /// Of the logits, row after row.
    pub logits: Vec<f64>,
    /// Of the outputs of other nodes, of the shapes of these.
    pub nodes: BTreeMap<NodeId, Tensor>,
}

/// The generator's loss on what the networks computed, without that on BatchNorm statistics.
#[derive(Debug, Clone, Default)]
pub struct GeneratorLoss {
    /// What is descended.
    pub value: f64,
    /// The part of it that bounds the entropy of the disagreement, as it is reported.
    pub marginal: f64,
    /// Its cross entropies with the labels, as they are reported: before the weight of both.
    pub balance: f64,
    /// Gradient of `value`.
    pub teacher: NetworkGradient,
    /// Gradient of `value`, `None` if it does not depend on the student.
    pub student: Option<NetworkGradient>,
}

/// The student's loss.
#[derive(Debug, Clone, Default)]
pub struct StudentLoss {
    /// What is descended.
    pub value: f64,
    /// Gradient of `value`.
    pub student: NetworkGradient,
}

impl<'a> Passes<'a> {
    /// # Errors
    /// If an output holds no logits.
    pub fn new(labels: &'a [usize], teacher: &'a Forward, student: &'a Forward) -> Result<Self> {
        Ok(Self {
            labels,
            teacher,
            student,
            teacher_logits: Logits::of(teacher)?,
            student_logits: Logits::of(student)?,
        })
    }
}

impl NetworkGradient {
    /// Of the logits alone.
    #[must_use]
    pub fn of_logits(logits: Vec<f64>) -> Self {
        Self {
            logits,
            nodes: BTreeMap::new(),
        }
    }

    /// That of the logits in the shape of the output of `forward`.
    pub(super) fn of_output(&self, forward: &Forward) -> Result<Tensor> {
        let output = forward.output();
        let gradient = self
            .logits
            .iter()
            .map(|&gradient| gradient as f32)
            .collect();
        Ok(Tensor::from_vec(gradient, output.shape(), output.device())?)
    }
}
