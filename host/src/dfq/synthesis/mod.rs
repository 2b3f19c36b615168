//! Images optimised from noise, pixel by pixel, for what the float network makes of them.
//!
//! ```text
//! L = -class_logit mean z_y + statistics BNS + total_variation TV + l2 L2
//! ```
//! with `z_y` the teacher's logit of the class that an image is meant for, and [`priors`] `TV` and
//! `L2`. Adam, with a step size that falls to 0 along half a cosine.

pub mod priors;

use std::{
    collections::BTreeMap,
    f64::consts::PI,
    sync::atomic::{AtomicBool, Ordering},
};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{
    Error, Result,
    images::Images,
    input_scale::InputScale,
    losses::{Logits, Loss},
    methods::NetworkGradient,
    optimizer::Adam,
    random::Random,
    teacher::Teacher,
};

/// How many images are optimised, how long and for what.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Synthesis {
    /// Images in all.
    pub images: usize,
    /// Images that are optimised together and share their statistics.
    pub batch: usize,
    /// Steps per batch.
    pub steps: usize,
    /// Step size at the start, in units of the images' standard deviation.
    pub learning_rate: f64,
    /// Weight of the logit of the assigned class, which is pushed up.
    pub class_logit: f64,
    /// Weight of the loss on the teacher's BatchNorm statistics.
    pub statistics: f64,
    /// Weight of the total variation.
    pub total_variation: f64,
    /// Weight of the mean square.
    pub l2: f64,
}

impl Default for Synthesis {
    fn default() -> Self {
        Self {
            images: 128,
            batch: 64,
            steps: 100,
            learning_rate: 0.1,
            class_logit: 0.0,
            statistics: 0.0,
            total_variation: 0.0,
            l2: 0.0,
        }
    }
}

/// How far the optimisation has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Steps done in all batches.
    pub done: usize,
    /// Steps to do in all batches.
    pub total: usize,
    /// Loss before the latest one.
    pub loss: f64,
}

impl Synthesis {
    /// Checks what the types leave open.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting that makes no sense.
    pub fn check(&self) -> Result<()> {
        let weight = |x: f64| x.is_finite() && x >= 0.0;
        let checks = [
            ("synthesis.images", self.images > 0, "at least 1"),
            ("synthesis.batch", self.batch > 0, "at least 1"),
            (
                "synthesis.learning_rate",
                self.learning_rate.is_finite() && self.learning_rate > 0.0,
                "a positive number",
            ),
            (
                "synthesis.class_logit",
                weight(self.class_logit),
                "0 or a positive number",
            ),
            (
                "synthesis.statistics",
                weight(self.statistics),
                "0 or a positive number",
            ),
            (
                "synthesis.total_variation",
                weight(self.total_variation),
                "0 or a positive number",
            ),
            ("synthesis.l2", weight(self.l2), "0 or a positive number"),
        ];
        match checks.into_iter().find(|(_, fine, _)| !fine) {
            Some((name, _, expected)) => Err(Error::Setting { name, expected }),
            None => Ok(()),
        }
    }

    /// Steps for all batches.
    #[must_use]
    pub fn total_steps(&self) -> usize {
        self.images.div_ceil(self.batch) * self.steps
    }

    /// Optimises all images for `teacher`, batch after batch, each class as often as the others.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the loss is no finite number, [`Error::Stopped`] once `stop` is set.
    pub fn run(
        &self,
        teacher: &Teacher,
        random: &mut Random,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(Step),
    ) -> Result<Vec<Images>> {
        let graph = teacher.graph();
        let [channels, height, width] = graph.input_shape;
        let scale = InputScale::of(graph)?;
        let all: Vec<usize> = (0..self.images)
            .map(|index| index % graph.classes)
            .collect();
        let mut done = 0;
        let mut report = |loss| {
            done += 1;
            progress(Step {
                done,
                total: self.total_steps(),
                loss,
            });
        };
        let optimise = |labels: &[usize]| {
            let noise = random.normal((labels.len(), channels, height, width))?;
            let images = self.optimise(teacher, scale, noise, labels, stop, &mut report)?;
            Ok(Images {
                images: scale.apply(&images)?,
                labels: labels.to_vec(),
            })
        };
        all.chunks(self.batch).map(optimise).collect()
    }

    fn optimise(
        &self,
        teacher: &Teacher,
        scale: InputScale,
        mut images: Tensor,
        labels: &[usize],
        stop: &AtomicBool,
        report: &mut dyn FnMut(f64),
    ) -> Result<Tensor> {
        let mut adam = Adam::new(self.learning_rate, [images.elem_count()]);
        for step in 0..self.steps {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let (loss, gradient) = self.loss(teacher, scale, &images, labels)?;
            if !loss.is_finite() {
                let term = "the loss of the optimised images";
                return Err(Error::NotFinite {
                    term: term.to_owned(),
                    value: loss,
                });
            }
            let progress = step as f64 / self.steps as f64;
            adam.learning_rate = self.learning_rate * 0.5 * (1.0 + (PI * progress).cos());
            adam.step(&mut [&mut images], &[&gradient])?;
            report(loss);
        }
        Ok(images)
    }

    /// The loss of `images`, whose mean and variance are not yet those of inputs, and its gradient.
    fn loss(
        &self,
        teacher: &Teacher,
        scale: InputScale,
        images: &Tensor,
        labels: &[usize],
    ) -> Result<(f64, Tensor)> {
        let pass = teacher.forward(&scale.apply(images)?)?;
        let Loss { value, gradient } = Logits::of(&pass)?.class_logit(labels);
        let mut loss = -self.class_logit * value;
        let logits = gradient.iter().map(|g| -self.class_logit * g).collect();
        let mut of_statistics = BTreeMap::new();
        if self.statistics > 0.0 {
            let (value, gradient) = teacher.statistics_loss(&pass, self.statistics)?;
            loss += self.statistics * value;
            of_statistics = gradient;
        }
        let logits = NetworkGradient::of_logits(logits);
        let gradient = teacher.image_gradient(&pass, &logits, of_statistics)?;
        let mut gradient = scale.backward(&gradient)?;
        for (weight, prior) in [
            (
                self.total_variation,
                priors::total_variation as priors::Prior,
            ),
            (self.l2, priors::mean_square),
        ] {
            if weight > 0.0 {
                let (value, of_prior) = prior(images)?;
                loss += weight * value;
                gradient = (gradient + (of_prior * weight)?)?;
            }
        }
        Ok((loss, gradient))
    }
}

#[cfg(test)]
mod tests;
