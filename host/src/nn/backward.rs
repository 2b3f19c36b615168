//! A graph, last node to first.

use candle_core::Tensor;

use super::composed;
use super::executor::{BatchStatistics, ExtraGradients, Forward, GradientHooks, Gradients, Wanted};
use super::forward::windows;
use super::ops::{activation, batch_norm, conv2d, linear, pool, resample, upsampled_conv2d};
use super::{Error, Result};
use crate::graph::{Graph, Node, NodeId, Op, Operators, Padding, ParameterName};

/// Gradients of `sum(grad_output * output)` plus what `extra` adds within the network.
///
/// # Errors
/// [`Error::NotKept`] when the forward pass kept nothing; [`Error::Node`] names the node whose
/// operator refused or to whose output an extra gradient does not fit.
pub fn backward(
    graph: &Graph,
    forward: &Forward,
    grad_output: &Tensor,
    wanted: Wanted,
    extra: &ExtraGradients,
) -> Result<Gradients> {
    backward_with(graph, forward, grad_output, wanted, extra, &mut ())
}

/// The same with `hooks` that see the gradient of every node's output on its way.
///
/// # Errors
/// As for [`backward`], and those of the hooks.
pub fn backward_with(
    graph: &Graph,
    forward: &Forward,
    grad_output: &Tensor,
    wanted: Wanted,
    extra: &ExtraGradients,
    hooks: &mut dyn GradientHooks,
) -> Result<Gradients> {
    let _kept = composed::keep_uploads(&graph.placement.device);
    let mut walk = Walk {
        graph,
        forward,
        wanted,
        extra,
        needed: needed(graph, wanted),
        pending: vec![None; graph.nodes.len()],
        gradients: Gradients::default(),
    };
    *walk.pending.last_mut().ok_or(Error::Empty)? = Some(grad_output.clone());
    for index in (0..graph.nodes.len()).rev() {
        let named = |source| Error::Node {
            name: graph.nodes[index].name.clone(),
            source: Box::new(source),
        };
        let Some(gradient) = walk.gradient(NodeId(index)).map_err(named)? else {
            continue;
        };
        let id = NodeId(index);
        let gradient = hooks.output(id, gradient).map_err(named)?;
        let done = match graph.placement.operators {
            Operators::Tuned => walk.node(id, &gradient),
            Operators::Composed(precision) => {
                composed::backward_node(&mut walk, id, &gradient, precision)
            }
        };
        done.map_err(named)?;
    }
    Ok(walk.gradients)
}

/// Whether anything that is wanted lies at or before each node.
fn needed(graph: &Graph, wanted: Wanted) -> Vec<bool> {
    let mut needed = vec![false; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        let own = match node.op {
            Op::Input => wanted.input,
            Op::Conv2d(_) | Op::BatchNorm(_) | Op::Linear(_) => wanted.parameters,
            _ => false,
        };
        needed[index] = own || node.inputs.iter().any(|input| needed[input.0]);
    }
    needed
}

impl Forward {
    pub(super) fn read(&self, node: &Node) -> Result<&Tensor> {
        let input = node.inputs.first().ok_or(Error::NotKept)?;
        self.value(*input).ok_or(Error::NotKept)
    }

    /// Factor by which a convolution enlarges what it reads.
    pub(super) fn enlargement(&self, node: &Node) -> usize {
        node.inputs
            .first()
            .map_or(1, |input| self.enlarged[input.0])
    }

    pub(super) fn weight(&self, id: NodeId) -> Result<&Tensor> {
        self.weights.get(&id).ok_or(Error::NotKept)
    }
}

/// How far a backward pass has come.
pub(super) struct Walk<'a> {
    pub(super) graph: &'a Graph,
    pub(super) forward: &'a Forward,
    pub(super) wanted: Wanted,
    pub(super) extra: &'a ExtraGradients,
    pub(super) needed: Vec<bool>,
    pending: Vec<Option<Tensor>>,
    pub(super) gradients: Gradients,
}

impl Walk<'_> {
    /// All that has come together at the output of a node, and what is added there.
    fn gradient(&mut self, id: NodeId) -> Result<Option<Tensor>> {
        let arrived = self.pending[id.0].take();
        let Some(extra) = self.extra.outputs.get(&id) else {
            return Ok(arrived);
        };
        let value = self.forward.value(id).ok_or(Error::NotKept)?;
        if extra.dims() != value.dims() {
            let expected = format!("{:?}", value.dims());
            return Err(Error::shape("extra gradient", expected, extra.dims()));
        }
        Ok(Some(match arrived {
            Some(arrived) => self.add(&arrived, extra)?,
            None => extra.clone(),
        }))
    }

    fn node(&mut self, id: NodeId, gradient: &Tensor) -> Result<()> {
        let (node, forward) = (&self.graph.nodes[id.0], self.forward);
        let input_needed = self.input_needed(node);
        match &node.op {
            Op::Input => {
                if self.wanted.input {
                    self.gradients.input = Some(gradient.clone());
                }
                Ok(())
            }
            Op::Conv2d(conv) => {
                let x = forward.read(node)?;
                let factor = forward.enlargement(node);
                if self.wanted.parameters {
                    let weight = match factor {
                        1 => conv2d::backward_weight(conv, x, gradient)?,
                        _ => upsampled_conv2d::backward_weight(conv, factor, x, gradient)?,
                    };
                    self.parameter(id, ParameterName::Weight, weight);
                    if conv.bias.is_some() {
                        let bias = conv2d::backward_bias(gradient)?;
                        self.parameter(id, ParameterName::Bias, bias);
                    }
                }
                if input_needed {
                    let weight = forward.weight(id)?;
                    let back = match factor {
                        1 => conv2d::backward_input(conv, weight, x.dims(), gradient)?,
                        _ => upsampled_conv2d::backward_input(
                            conv,
                            weight,
                            factor,
                            x.dims(),
                            gradient,
                        )?,
                    };
                    self.send(node, 0, back)?;
                }
                Ok(())
            }
            Op::Linear(layer) => {
                let x = forward.read(node)?;
                if self.wanted.parameters {
                    let weight = linear::backward_weight(layer, x, gradient)?;
                    self.parameter(id, ParameterName::Weight, weight);
                    if layer.bias.is_some() {
                        let bias = linear::backward_bias(gradient)?;
                        self.parameter(id, ParameterName::Bias, bias);
                    }
                }
                if input_needed {
                    let back = linear::backward_input(layer, forward.weight(id)?, gradient)?;
                    self.send(node, 0, back)?;
                }
                Ok(())
            }
            Op::BatchNorm(norm) => {
                let x = forward.read(node)?;
                let batch = match self.forward.batch_statistics {
                    BatchStatistics::Batch => self.forward.moments.get(&id),
                    BatchStatistics::Running => None,
                };
                let wanted = batch_norm::Wanted {
                    input: input_needed,
                    parameters: self.wanted.parameters,
                };
                let extra = self.extra.batch_norm_inputs.get(&id);
                let found = batch_norm::backward(norm, batch, x, gradient, extra, wanted)?;
                for (name, value) in [
                    (ParameterName::Weight, found.weight),
                    (ParameterName::Bias, found.bias),
                ] {
                    if let Some(value) = value {
                        self.parameter(id, name, value);
                    }
                }
                found.input.map_or(Ok(()), |back| self.send(node, 0, back))
            }
            _ if !self.needed[id.0] => Ok(()),
            op => self.without_parameters(id, node, op, gradient),
        }
    }

    fn without_parameters(
        &mut self,
        id: NodeId,
        node: &Node,
        op: &Op,
        gradient: &Tensor,
    ) -> Result<()> {
        let forward = self.forward;
        let x = forward.read(node)?;
        let back = match op {
            Op::Relu => activation::relu_backward(x, gradient)?,
            Op::Relu6 => activation::relu6_backward(x, gradient)?,
            Op::LeakyRelu { slope } => activation::leaky_relu_backward(x, *slope as f32, gradient)?,
            Op::Tanh => {
                let output = forward.value(id).ok_or(Error::NotKept)?;
                activation::tanh_backward(output, gradient)?
            }
            Op::Add => {
                self.send(node, 1, gradient.clone())?;
                gradient.clone()
            }
            Op::SubsamplePad { stride, front, .. } => {
                resample::subsample_pad_backward(x.dims(), *stride, *front, gradient)?
            }
            Op::Upsample { .. } if forward.enlarged[id.0] > 1 => gradient.clone(),
            Op::Upsample { factor } => resample::upsample_backward(x.dims(), *factor, gradient)?,
            Op::MaxPool {
                window,
                stride,
                padding,
            } => pool::max_backward(x, &windows(*window, *stride, *padding), gradient)?,
            Op::AveragePool { window, stride } => {
                let windows = windows(*window, *stride, Padding::default());
                pool::average_backward(x, &windows, gradient)?
            }
            Op::GlobalAveragePool => pool::global_average_backward(x.dims(), gradient)?,
            Op::Flatten | Op::Reshape { .. } => gradient.reshape(x.dims())?,
            // `node` handles these.
            Op::Input | Op::Conv2d(_) | Op::Linear(_) | Op::BatchNorm(_) => return Ok(()),
        };
        self.send(node, 0, back)
    }

    /// Whether the gradient of what `node` reads is wanted.
    pub(super) fn input_needed(&self, node: &Node) -> bool {
        let input = node.inputs.first();
        input.is_some_and(|input| self.needed[input.0])
    }

    fn add(&self, left: &Tensor, right: &Tensor) -> Result<Tensor> {
        match self.graph.placement.operators {
            Operators::Tuned => activation::add(left, right),
            Operators::Composed(_) => composed::add(left, right),
        }
    }

    /// Adds to the gradient of what `node` reads at `position`.
    pub(super) fn send(&mut self, node: &Node, position: usize, gradient: Tensor) -> Result<()> {
        let Some(input) = node.inputs.get(position) else {
            return Ok(());
        };
        if !self.needed[input.0] {
            return Ok(());
        }
        self.pending[input.0] = Some(match self.pending[input.0].take() {
            Some(other) => self.add(&other, &gradient)?,
            None => gradient,
        });
        Ok(())
    }

    pub(super) fn parameter(&mut self, id: NodeId, name: ParameterName, gradient: Tensor) {
        self.gradients.parameters.insert((id, name), gradient);
    }
}
