//! What may follow the game: the student alone learns, from a fixed pool of generated images, with
//! ranges of its own.
//!
//! ```text
//! images of the game ─▶ pool ─┬─▶ teacher ──┬─▶ outputs of residual blocks
//!                             └─▶ student ──┴─▶ logits
//! ```
//! The student starts as the teacher quantized in ranges with the least squared error ([`Settings`]
//! says what can be chosen). The gradient of the divergence of its logits and of the distance of its
//! blocks' outputs moves its parameters and its quantizers' steps, by Adam with a step size that
//! falls to 0 along half a cosine. An iteration costs a fraction of the game's: there is no generator
//! to train, and no gradient of images.

mod alignment;
mod checkpoint;
mod dropped;
mod learned_range;
mod pool;
mod settings;
mod student;
#[cfg(test)]
mod tests;

use std::f64::consts::PI;

use candle_core::Tensor;

pub(super) use pool::ImagePool;
pub use settings::Refinement as Settings;

use self::{
    dropped::Dropped,
    student::{Gradients, KEEP, LearnedStudent},
};
use super::{
    Error, Result, config::NodeWidths, losses::Logits, methods::NetworkGradient, optimizer::Adam,
    random::Random,
};
use crate::{
    graph::{Graph, NodeId, QuantizedGraph},
    nn::executor,
};

/// `teacher` quantized with the given `widths`, nothing learned: weights and activations in the
/// ranges with the least squared error, the latter on `images`, `[batch, channels, height, width]`,
/// normalised.
///
/// # Errors
/// If the images do not fit the network or a weight is not finite.
pub fn fitted(teacher: &Graph, widths: NodeWidths, images: &Tensor) -> Result<QuantizedGraph> {
    LearnedStudent::new(teacher, widths, images, true)?.quantized_graph()
}

/// Images that the first activation ranges are chosen on.
const RANGE_IMAGES: usize = 128;

/// The refinement under way.
#[derive(Debug, Clone)]
pub(super) struct Refinement {
    settings: Settings,
    student: LearnedStudent,
    pool: ImagePool,
    sites: Vec<NodeId>,
    parameters: Adam,
    weight_steps: Adam,
    activation_steps: Adam,
    random: Random,
}

impl Refinement {
    /// The start: the teacher quantized.
    ///
    /// # Errors
    /// If the pool is empty or its images do not fit the network.
    pub(super) fn new(
        teacher: &Graph,
        widths: NodeWidths,
        settings: Settings,
        pool: ImagePool,
        random: Random,
    ) -> Result<Self> {
        let pool = pool.merged()?;
        let distance = pool.images().div_ceil(RANGE_IMAGES);
        let spread: Vec<u32> = (0..pool.images() as u32).step_by(distance).collect();
        let images = pool.select(&spread)?;
        let student = LearnedStudent::new(teacher, widths, &images, settings.fitted_ranges)?;
        let adam = |sizes: Vec<usize>| Adam::with_betas(0.0, [0.9, 0.999], sizes);
        let parameters = teacher.parameters().into_iter();
        let parameters = parameters.map(|(_, tensor)| tensor.elem_count());
        let weights = student.weight_ranges.values();
        let activations = student.activation_ranges.values();
        Ok(Self {
            parameters: adam(parameters.collect()),
            weight_steps: adam(weights.map(|r| r.log_step.elem_count()).collect()),
            activation_steps: adam(activations.map(|r| r.log_step.elem_count()).collect()),
            sites: alignment::sites(teacher),
            settings,
            student,
            pool,
            random,
        })
    }

    /// The student as it is now.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub(super) fn quantized_graph(&self) -> Result<QuantizedGraph> {
        self.student.quantized_graph()
    }

    /// Step size of the parameters in the last iteration.
    pub(super) fn learning_rate(&self) -> f64 {
        self.parameters.learning_rate
    }

    /// One iteration, `done` of `total` having been done. Returns the loss.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the loss is no finite number.
    pub(super) fn step(&mut self, teacher: &Graph, done: usize, total: usize) -> Result<f64> {
        let (loss, gradients) = self.losses(teacher)?;
        if !loss.is_finite() {
            return Err(Error::NotFinite {
                term: "the student's loss".to_owned(),
                value: loss,
            });
        }
        let left = 0.5 * (1.0 + (PI * done as f64 / total as f64).cos());
        self.update(&gradients, left)?;
        Ok(loss)
    }

    fn losses(&mut self, teacher: &Graph) -> Result<(f64, Gradients)> {
        let images = self.next_batch()?;
        let p = executor::forward(teacher, &images, KEEP, &mut ())?;
        let Settings {
            divergence,
            temperature,
            alignment,
            dropped,
            ..
        } = self.settings;
        let dropped = (dropped > 0.0).then(|| Dropped::new(dropped, self.random.number()));
        let q = self.student.forward(&images, dropped)?;
        let of_logits = Logits::of(&q)?.divergence_from(&Logits::of(&p)?, temperature);
        let (of_blocks, nodes) = if alignment > 0.0 {
            alignment::loss(&self.sites, &p, &q, alignment)?
        } else {
            Default::default()
        };
        let gradient = NetworkGradient {
            logits: of_logits.gradient.iter().map(|g| divergence * g).collect(),
            nodes,
        };
        let gradients = self.student.gradients(&q, &gradient, dropped)?;
        Ok((
            divergence * of_logits.value + alignment * of_blocks,
            gradients,
        ))
    }

    fn next_batch(&mut self) -> Result<Tensor> {
        let chosen = self.random.labels(self.settings.batch, self.pool.images());
        let chosen: Vec<u32> = chosen.into_iter().map(|index| index as u32).collect();
        self.pool.select(&chosen)
    }

    /// Moves all that is learned; `left` is the share of the step sizes.
    fn update(&mut self, gradients: &Gradients, left: f64) -> Result<()> {
        let Settings {
            learning_rate,
            weight_range_learning_rate,
            activation_range_learning_rate,
            ..
        } = self.settings;
        let LearnedStudent {
            trained,
            weight_ranges,
            activation_ranges,
            ..
        } = &mut self.student;
        let parameters = trained.parameters_mut().into_iter().map(|(_, p)| p);
        let weights = weight_ranges.values_mut().map(|r| &mut r.log_step);
        let activations = activation_ranges.values_mut().map(|r| &mut r.log_step);
        for (adam, rate, values, gradients) in [
            (
                &mut self.parameters,
                learning_rate,
                parameters.collect::<Vec<_>>(),
                &gradients.parameters,
            ),
            (
                &mut self.weight_steps,
                weight_range_learning_rate,
                weights.collect(),
                &gradients.weight_steps,
            ),
            (
                &mut self.activation_steps,
                activation_range_learning_rate,
                activations.collect(),
                &gradients.activation_steps,
            ),
        ] {
            adam.learning_rate = rate * left;
            let mut values = values;
            adam.step(&mut values, &gradients.iter().collect::<Vec<_>>())?;
        }
        self.student.quantize()
    }
}
