//! Runs a graph forwards and backwards, node by node.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use candle_core::Tensor;

use super::Result;
pub use super::backward::{backward, backward_with};
pub use super::forward::forward;
use super::ops::batch_norm::BatchMoments;
use crate::graph::NodeId;
pub use crate::graph::ParameterName;

/// What BatchNorm normalises with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchStatistics {
    /// The stored mean and variance (evaluation).
    Running,
    /// Mean and biased variance of the batch (training).
    Batch,
}

/// Places where a caller may change what a graph computes. In the backward pass both are
/// straight-through: gradients pass to the raw weight and to the value before the hook.
pub trait Hooks {
    /// What a convolution or linear layer uses instead of its weight.
    ///
    /// # Errors
    /// The hook's own.
    fn weight(&mut self, _node: NodeId, weight: &Tensor) -> Result<Tensor> {
        Ok(weight.clone())
    }

    /// What takes the place of a node's output, of the same shape.
    ///
    /// # Errors
    /// The hook's own.
    fn output(&mut self, _node: NodeId, value: Tensor) -> Result<Tensor> {
        Ok(value)
    }
}

impl Hooks for () {}

/// How to run forwards.
#[derive(Debug, Clone, Copy)]
pub struct ForwardOptions {
    /// What BatchNorm normalises with.
    pub batch_statistics: BatchStatistics,
    /// Keep every node's value, for [`backward`] and [`Forward::value`].
    pub keep_for_backward: bool,
    /// Record mean and variance of every BatchNorm's input.
    pub record_batch_norm_inputs: bool,
}

/// Mean and variance per channel of what a BatchNorm node reads.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNormInput {
    /// The BatchNorm node.
    pub node: NodeId,
    /// Mean over batch, rows and columns.
    pub mean: Vec<f32>,
    /// Biased variance over the same.
    pub var: Vec<f32>,
}

/// What a forward pass leaves behind.
#[derive(Debug)]
pub struct Forward {
    pub(super) values: Vec<Option<Tensor>>,
    /// Weights as used, where a hook replaced them.
    pub(super) weights: BTreeMap<NodeId, Tensor>,
    /// Batch moments of BatchNorm nodes, where the pass computed them.
    pub(super) moments: BTreeMap<NodeId, BatchMoments>,
    /// For every node the factor by which convolutions that read it enlarge it.
    pub(super) enlarged: Vec<usize>,
    pub(super) batch_statistics: BatchStatistics,
    pub(super) output: Tensor,
    /// The output's elements, once somebody has asked for them.
    pub(super) output_values: OnceLock<Vec<f32>>,
}

impl Forward {
    /// Value of the last node.
    #[must_use]
    pub fn output(&self) -> &Tensor {
        &self.output
    }

    /// Elements of the output. On a device the first call waits for the pass; what comes after it
    /// there is not waited for again.
    ///
    /// # Errors
    /// If they cannot be copied to main memory.
    pub fn output_values(&self) -> Result<&[f32]> {
        if let Some(values) = self.output_values.get() {
            return Ok(values);
        }
        let values = self.output.flatten_all()?.to_vec1::<f32>()?;
        Ok(self.output_values.get_or_init(|| values))
    }

    /// Value of a node, if it was kept. That of an upsampling which only convolutions of stride 1
    /// read may be the small image: they do the upsampling themselves.
    #[must_use]
    pub fn value(&self, node: NodeId) -> Option<&Tensor> {
        self.values.get(node.0)?.as_ref()
    }

    /// Statistics of the inputs of all BatchNorm nodes, where the pass computed them; empty unless
    /// they were recorded or used.
    #[must_use]
    pub fn batch_moments(&self) -> &BTreeMap<NodeId, BatchMoments> {
        &self.moments
    }

    /// The figures of [`Forward::batch_moments`], in the order of the nodes.
    ///
    /// # Errors
    /// If they cannot be copied to main memory.
    pub fn batch_norm_inputs(&self) -> Result<Vec<BatchNormInput>> {
        let entry = |(&node, moments): (&NodeId, &BatchMoments)| {
            Ok(BatchNormInput {
                node,
                mean: moments.mean.to_vec1()?,
                var: moments.var.to_vec1()?,
            })
        };
        self.moments.iter().map(entry).collect()
    }
}

/// Which gradients a backward pass is to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// With respect to the network's input.
    pub input: bool,
    /// With respect to all parameters.
    pub parameters: bool,
}

/// A gradient at a BatchNorm node's input beside the one that comes through the node:
/// `offset[c] + slope[c] * x` for every element `x` of channel `c`. Any loss on the mean and the
/// variance of that input has this form.
#[derive(Debug, Clone)]
pub struct ChannelGradient {
    /// Constant part, `[channels]`.
    pub offset: Tensor,
    /// Factor, `[channels]`.
    pub slope: Tensor,
}

/// A place where a caller may change the gradients of a backward pass, for values that
/// [`Hooks::output`] changed other than straight-through.
pub trait GradientHooks {
    /// What takes the place of the gradient of a node's output, which is complete by then.
    ///
    /// # Errors
    /// The hook's own.
    fn output(&mut self, _node: NodeId, gradient: Tensor) -> Result<Tensor> {
        Ok(gradient)
    }
}

impl GradientHooks for () {}

/// Gradients that losses add within a network, beside the one of its output.
#[derive(Debug, Clone, Default)]
pub struct ExtraGradients {
    /// At the inputs of BatchNorm nodes.
    pub batch_norm_inputs: BTreeMap<NodeId, ChannelGradient>,
    /// At the outputs of nodes (behind their hooks), of the shapes of these.
    pub outputs: BTreeMap<NodeId, Tensor>,
}

/// What a backward pass gives.
#[derive(Debug, Default)]
pub struct Gradients {
    /// With respect to the network's input.
    pub input: Option<Tensor>,
    /// With respect to the parameters.
    pub parameters: BTreeMap<(NodeId, ParameterName), Tensor>,
}
