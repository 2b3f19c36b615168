//! Ordinary supervised training of a float network, to have one to quantize.
//!
//! Nesterov SGD on the cross entropy, cosine step size, batch statistics in BatchNorm with running
//! means of momentum 0.1 (unbiased variance), as PyTorch's defaults have it.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Tensor;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::data::Dataset;
use crate::dfq::optimizer::Nesterov;
use crate::graph::{Graph, NodeId, Op};
use crate::nn::executor::{
    BatchStatistics, ExtraGradients, ForwardOptions, Wanted, backward, forward,
};
use crate::nn::{self, cross_entropy, images};

/// Share of the newest batch in the running statistics.
const STATISTICS_MOMENTUM: f32 = 0.1;

/// Length and step size of the training.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Settings {
    /// Passes over the data.
    pub epochs: usize,
    /// Images per step; the rest of a pass that does not fill a batch is left out.
    pub batch: usize,
    /// Largest step size; reached at the first step, near 0 at the last.
    pub learning_rate: f64,
    /// L2 penalty.
    pub weight_decay: f64,
    /// Seed of the order of the images.
    pub seed: u64,
}

/// What is known after a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Steps done, from 1.
    pub done: usize,
    /// Steps in all.
    pub total: usize,
    /// Cross entropy of the batch.
    pub loss: f64,
}

/// Why training ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The float engine refused.
    #[error(transparent)]
    Engine(#[from] nn::Error),
    /// An optimizer refused.
    #[error(transparent)]
    Optimizer(#[from] crate::dfq::Error),
    /// The loss is not a number.
    #[error("the loss is {loss} at step {step}; a smaller step size may help")]
    Diverged {
        /// Index of the step.
        step: usize,
        /// What it was.
        loss: f64,
    },
    /// The stop flag was set.
    #[error("interrupted")]
    Interrupted,
}

/// Trains `graph` on `data` and returns it with its weights and BatchNorm statistics.
///
/// # Errors
/// When the data does not fit the network, the loss diverges, or `stop` is set.
pub fn train(
    mut graph: Graph,
    data: &Dataset,
    settings: &Settings,
    stop: &AtomicBool,
    mut report: impl FnMut(Step),
) -> Result<Graph, Error> {
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let mut order = (0..data.len()).collect::<Vec<_>>();
    let steps_per_epoch = data.len() / settings.batch;
    let total = settings.epochs * steps_per_epoch;
    let mut optimizer = Nesterov::new(settings.learning_rate, 0.9, settings.weight_decay);
    for epoch in 0..settings.epochs {
        order.shuffle(&mut rng);
        for (index, batch) in order.chunks_exact(settings.batch).enumerate() {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let step = epoch * steps_per_epoch + index;
            optimizer.learning_rate = cosine(settings.learning_rate, step, total);
            let loss = train_step(&mut graph, data, batch, &mut optimizer)?;
            if !loss.is_finite() {
                return Err(Error::Diverged { step, loss });
            }
            report(Step {
                done: step + 1,
                total,
                loss,
            });
        }
    }
    Ok(graph)
}

fn train_step(
    graph: &mut Graph,
    data: &Dataset,
    batch: &[usize],
    optimizer: &mut Nesterov,
) -> Result<f64, Error> {
    let input = images(data, batch, &graph.normalization)?;
    let labels = batch
        .iter()
        .map(|&index| usize::from(data.labels[index]))
        .collect::<Vec<_>>();
    let options = ForwardOptions {
        batch_statistics: BatchStatistics::Batch,
        keep_for_backward: true,
        record_batch_norm_inputs: true,
    };
    let pass = forward(graph, &input, options, &mut ())?;
    let (loss, gradient) = cross_entropy(pass.output(), &labels)?;
    let wanted = Wanted {
        input: false,
        parameters: true,
    };
    let gradients = backward(graph, &pass, &gradient, wanted, &ExtraGradients::default())?;
    for statistics in pass.batch_norm_inputs()? {
        follow(
            graph,
            statistics.node,
            &statistics.mean,
            &statistics.var,
            batch.len(),
        )?;
    }
    let mut parameters = Vec::new();
    let mut values = Vec::new();
    for (key, parameter) in graph.parameters_mut() {
        if let Some(gradient) = gradients.parameters.get(&key) {
            parameters.push(parameter);
            values.push(gradient);
        }
    }
    optimizer.step(&mut parameters, &values)?;
    Ok(loss)
}

/// Moves the running statistics towards those of a batch.
fn follow(
    graph: &mut Graph,
    node: NodeId,
    mean: &[f32],
    variance: &[f32],
    samples: usize,
) -> Result<(), Error> {
    let Op::BatchNorm(batch_norm) = &mut graph.nodes[node.0].op else {
        return Ok(());
    };
    // Images have many pixels, so only a layer on vectors sees a visible difference.
    let unbiased = samples as f32 / (samples as f32 - 1.0).max(1.0);
    let blend = |old: &Tensor, new: &[f32], factor: f32| -> Result<Tensor, nn::Error> {
        let old = old.to_vec1::<f32>()?;
        let blended = old.iter().zip(new).map(|(old, new)| {
            (1.0 - STATISTICS_MOMENTUM) * old + STATISTICS_MOMENTUM * factor * new
        });
        let blended = blended.collect::<Vec<_>>();
        Ok(Tensor::from_slice(
            &blended,
            blended.len(),
            &candle_core::Device::Cpu,
        )?)
    };
    batch_norm.running_mean = blend(&batch_norm.running_mean, mean, 1.0)?;
    batch_norm.running_var = blend(&batch_norm.running_var, variance, unbiased)?;
    Ok(())
}

fn cosine(largest: f64, step: usize, total: usize) -> f64 {
    let progress = step as f64 / total as f64;
    largest * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
}
