//! The refinement as the last epochs of a run.

use candle_core::{Device, Tensor};
use tracing::debug_span;

use super::{Progress, Trainer, stream};
use crate::{
    dfq::{Config, Losses, Result, random::Random, refinement::Refinement},
    graph::Operators,
};

impl Trainer {
    /// An iteration of the refinement, the first of which starts it.
    pub(super) fn refine(&mut self) -> Result<Losses> {
        let _span = debug_span!("refine").entered();
        if self.placement().operators != Operators::Tuned {
            tracing::warn!("the refinement is computed on the CPU");
            *self = self.on_host()?;
        }
        let mut refinement = match self.refinement.take() {
            Some(refinement) => refinement,
            None => self.start_refinement()?,
        };
        let progress = &self.progress;
        let epoch = progress.epoch - self.config.epochs;
        let done = epoch * self.config.iterations + progress.iteration;
        let total = self.config.refinement.epochs * self.config.iterations;
        let loss = refinement.step(self.teacher.graph(), done, total)?;
        self.refinement = Some(refinement);
        Ok(Losses {
            student: loss,
            ..Losses::default()
        })
    }

    /// The refinement at its start, which takes over the pool.
    pub(in crate::dfq) fn start_refinement(&mut self) -> Result<Refinement> {
        Refinement::new(
            self.teacher.graph(),
            self.config.bits.of(self.teacher.graph())?,
            self.config.refinement.clone(),
            std::mem::take(&mut self.pool),
            Random::new(self.config.seed, stream::REFINEMENT),
        )
    }

    /// Offers the images of an iteration of the game to the pool of a refinement to come.
    pub(super) fn offer_to_pool(&mut self, images: &Tensor) -> Result<()> {
        let Config {
            epochs,
            warmup_epochs,
            iterations,
            refinement,
            ..
        } = &self.config;
        let first = (*warmup_epochs).min(epochs - 1);
        let Progress {
            epoch, iteration, ..
        } = self.progress;
        if refinement.epochs == 0 || epoch < first {
            return Ok(());
        }
        let done = (epoch - first) * iterations + iteration;
        let total = (epochs - first) * iterations;
        let images = images.to_device(&Device::Cpu)?;
        self.pool.offer(&images, refinement.pool, done, total)
    }

    /// Step size of the student in the last iteration; 0 while only the generator learned.
    pub(super) fn student_learning_rate(&self) -> f64 {
        match &self.refinement {
            Some(refinement) => refinement.learning_rate(),
            None if self.progress.epoch < self.config.warmup_epochs => 0.0,
            None => self.nesterov.learning_rate,
        }
    }

    /// Step size of the generator in the last iteration; 0 in the refinement.
    pub(super) fn generator_learning_rate(&self) -> f64 {
        match &self.refinement {
            Some(_) => 0.0,
            None => self.adam.learning_rate,
        }
    }
}
