//! What a training run tells whoever watches it.

use std::path::Path;

use serde::Serialize;

use super::{Trainer, entropies::EntropyHistogram};

/// Losses of one iteration.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Losses {
    /// Keeps the entropy of the disagreement between its bounds.
    pub marginal: f64,
    /// Weighted cross entropies of disagreement and agreement with the labels.
    pub balance: f64,
    /// Distance of the teacher's BatchNorm statistics from those of its training data.
    pub statistics: f64,
    /// What the generator descends: `marginal + beta * balance + gamma * statistics`.
    pub generator: f64,
    /// What the student descends after the warm-up.
    pub student: f64,
}

/// One iteration, just done.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Iteration {
    /// Counted from 0.
    pub epoch: usize,
    /// Within the epoch, counted from 0.
    pub iteration: usize,
    /// What it gave.
    pub losses: Losses,
}

/// Accuracy of the student on images that training never sees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evaluation {
    /// Percent of the images.
    pub top1: f64,
    /// How many there were.
    pub images: usize,
    /// The same of the first [`Evaluation::subset_images`] only, which every evaluation of a run
    /// has in common.
    pub subset_top1: f64,
    /// How many that are.
    pub subset_images: usize,
}

/// One epoch, just done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Epoch {
    /// Counted from 0.
    pub epoch: usize,
    /// Iterations since the start of the run.
    pub iterations: usize,
    /// Mean over the epoch.
    pub losses: Losses,
    /// Step size of the student in this epoch; 0 while only the generator learned.
    pub student_learning_rate: f64,
    /// Step size of the generator in this epoch.
    pub generator_learning_rate: f64,
    /// Time the epoch took.
    pub seconds: f64,
    /// Of the disagreement of teacher and student on the epoch's samples.
    pub entropies: EntropyHistogram,
    /// If the watcher evaluated the student.
    pub evaluation: Option<Evaluation>,
}

/// A line of a run's metrics, told apart by `kind`.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Metrics<'a> {
    /// After every iteration.
    Iteration(&'a Iteration),
    /// After every epoch.
    Epoch(&'a Epoch),
}

/// Whoever watches a run: a progress bar, a log, nothing at all.
pub trait Watcher {
    /// After every iteration.
    fn iteration(&mut self, _iteration: &Iteration) {}

    /// After the last iteration of every epoch, to evaluate the student or not. An error ends the
    /// run.
    ///
    /// # Errors
    /// Whatever the evaluation meets.
    fn evaluate(&mut self, _epoch: usize, _trainer: &Trainer) -> super::Result<Option<Evaluation>> {
        Ok(None)
    }

    /// After every epoch.
    fn epoch(&mut self, _epoch: &Epoch) {}

    /// After a checkpoint has been written.
    fn checkpoint(&mut self, _path: &Path) {}
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watcher for Unwatched {}

impl Losses {
    /// Sum of the losses, one by one.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let (mut sum, other) = (self.to_array(), other.to_array());
        for (sum, other) in sum.iter_mut().zip(other) {
            *sum += other;
        }
        Self::from_array(sum)
    }

    /// All losses times `factor`.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        Self::from_array(self.to_array().map(|loss| loss * factor))
    }

    /// In the order of the fields.
    #[must_use]
    pub fn to_array(&self) -> [f64; 5] {
        [
            self.marginal,
            self.balance,
            self.statistics,
            self.generator,
            self.student,
        ]
    }

    /// With the names of the fields.
    #[must_use]
    pub fn named(&self) -> [(&'static str, f64); 5] {
        const NAMES: [&str; 5] = ["marginal", "balance", "statistics", "generator", "student"];
        let losses = self.to_array();
        std::array::from_fn(|index| (NAMES[index], losses[index]))
    }

    /// From the order of the fields.
    #[must_use]
    pub fn from_array([marginal, balance, statistics, generator, student]: [f64; 5]) -> Self {
        Self {
            marginal,
            balance,
            statistics,
            generator,
            student,
        }
    }

    /// The first loss that is no finite number, with its name.
    #[must_use]
    pub fn first_not_finite(&self) -> Option<(&'static str, f64)> {
        const NAMES: [&str; 5] = [
            "the marginal loss",
            "the sum of cross entropies",
            "the loss on BatchNorm statistics",
            "the generator's loss",
            "the student's loss",
        ];
        let mut losses = NAMES.into_iter().zip(self.to_array());
        losses.find(|(_, loss)| !loss.is_finite())
    }
}
