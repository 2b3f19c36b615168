//! The quantized copy of the teacher with ranges that are learned along with its parameters.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::{dropped::Dropped, learned_range::LearnedRanges};
use crate::{
    dfq::{
        Error, Result,
        config::NodeWidths,
        fake_quantized::{FakeQuantized, with_values},
        methods::NetworkGradient,
    },
    graph::{Graph, NodeId, Op, ParameterName, QuantizedGraph},
    nn::{
        self,
        executor::{
            self, BatchStatistics, ExtraGradients, Forward, ForwardOptions, GradientHooks, Hooks,
            Wanted,
        },
        ops::{activation, batch_norm},
    },
};

/// How to run teacher and student.
pub(super) const KEEP: ForwardOptions = ForwardOptions {
    batch_statistics: BatchStatistics::Running,
    keep_for_backward: true,
    record_batch_norm_inputs: false,
};

/// The quantized copy of the teacher with ranges that are learned along with its parameters.
#[derive(Debug, Clone)]
pub(super) struct LearnedStudent {
    widths: NodeWidths,
    /// Parameters before quantization.
    pub(super) trained: Graph,
    /// Of the weights of convolutions and linear layers.
    pub(super) weight_ranges: BTreeMap<NodeId, LearnedRanges>,
    /// Behind the nodes of [`Graph::quantizers`].
    pub(super) activation_ranges: BTreeMap<NodeId, LearnedRanges>,
    pub(super) quantized: FakeQuantized,
}

/// Gradients of everything that is learned.
pub(super) struct Gradients {
    /// In the order of [`Graph::parameters`].
    pub(super) parameters: Vec<Tensor>,
    /// Of the logarithms of steps, in the order of the nodes.
    pub(super) weight_steps: Vec<Tensor>,
    /// The same.
    pub(super) activation_steps: Vec<Tensor>,
}

impl LearnedStudent {
    /// A copy of `teacher` with activation ranges that suit what it makes of `images`.
    ///
    /// # Errors
    /// If the images do not fit the network or a weight is not finite.
    pub(super) fn new(
        teacher: &Graph,
        widths: NodeWidths,
        images: &Tensor,
        fitted: bool,
    ) -> Result<Self> {
        let pass = executor::forward(teacher, images, KEEP, &mut ())?;
        let (mut weight_ranges, mut activation_ranges) = (BTreeMap::new(), BTreeMap::new());
        let quantizers = teacher.quantizers();
        for (index, node) in teacher.nodes.iter().enumerate() {
            let id = NodeId(index);
            if let (Some(weight), Some(bits)) = (weight(&node.op), widths.weights[index]) {
                let ranges = with_values(weight, |values| {
                    let rows = values.chunks(row_size(weight)?);
                    LearnedRanges::new(bits, rows, fitted)
                })??;
                weight_ranges.insert(id, ranges);
            }
            if let (Some(_), Some(value)) = (quantizers[index], pass.value(id)) {
                let ranges = with_values(value, |values| {
                    LearnedRanges::new(widths.activations[index], [values].into_iter(), fitted)
                })??;
                activation_ranges.insert(id, ranges);
            }
        }
        let network = network(teacher, &widths, &weight_ranges, &activation_ranges)?;
        Ok(Self {
            widths,
            trained: teacher.clone(),
            weight_ranges,
            activation_ranges,
            quantized: FakeQuantized::new(&network)?,
        })
    }

    /// The network as it is now, with its widths and ranges.
    ///
    /// # Errors
    /// If the ranges cannot be made into tensors.
    pub(super) fn quantized_graph(&self) -> Result<QuantizedGraph> {
        network(
            &self.trained,
            &self.widths,
            &self.weight_ranges,
            &self.activation_ranges,
        )
    }

    /// Takes over what has been changed in the fields.
    ///
    /// # Errors
    /// If a range or a weight is not finite.
    pub(super) fn quantize(&mut self) -> Result<()> {
        self.quantized = FakeQuantized::new(&self.quantized_graph()?)?;
        Ok(())
    }

    /// Logits of `images`, with the values of all nodes; those `dropped` are left unquantized.
    ///
    /// # Errors
    /// If the images do not fit the network.
    pub(super) fn forward(&self, images: &Tensor, dropped: Option<Dropped>) -> Result<Forward> {
        let Some(dropped) = dropped else {
            return self.quantized.forward_with(images, KEEP);
        };
        let mut hook = DroppingActivations {
            quantized: &self.quantized,
            dropped,
        };
        let graph = self.quantized.graph();
        Ok(executor::forward(graph, images, KEEP, &mut hook)?)
    }

    /// Gradients of all that is learned, for `gradient` of what `forward` computed with the same
    /// `dropped`.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub(super) fn gradients(
        &self,
        forward: &Forward,
        gradient: &NetworkGradient,
        dropped: Option<Dropped>,
    ) -> Result<Gradients> {
        let mut hook = ActivationGradients {
            student: self,
            forward,
            dropped,
            steps: BTreeMap::new(),
        };
        let extra = ExtraGradients {
            outputs: gradient.nodes.clone(),
            ..ExtraGradients::default()
        };
        let wanted = Wanted {
            input: false,
            parameters: true,
        };
        let found = executor::backward_with(
            self.quantized.graph(),
            forward,
            &gradient.of_output(forward)?,
            wanted,
            &extra,
            &mut hook,
        )?;
        let activation_steps = hook.steps.into_values().collect();
        let (mut parameters, mut weight_steps) = (Vec::new(), Vec::new());
        for ((id, value), gradient) in self
            .trained
            .parameters()
            .into_iter()
            .zip(found.parameters.into_values())
        {
            match (self.weight_ranges.get(&id.0), id.1) {
                (Some(ranges), ParameterName::Weight) => {
                    let (gradient, steps) = through_quantizer(ranges, value, &gradient, None)?;
                    parameters.push(gradient);
                    weight_steps.push(steps);
                }
                _ => parameters.push(gradient),
            }
        }
        Ok(Gradients {
            parameters,
            weight_steps,
            activation_steps,
        })
    }
}

/// Quantizes activations but for some of their elements.
struct DroppingActivations<'a> {
    quantized: &'a FakeQuantized,
    dropped: Dropped,
}

impl Hooks for DroppingActivations<'_> {
    fn output(&mut self, node: NodeId, value: Tensor) -> nn::Result<Tensor> {
        let Some(quantizer) = self.quantized.quantizer(node) else {
            return Ok(value);
        };
        let quantized = self.dropped.quantized(node, &value, quantizer);
        quantized.map_err(|error| nn::Error::Hook(Box::new(error)))
    }
}

/// Takes gradients through the quantizers of activations and collects those of their steps.
struct ActivationGradients<'a> {
    student: &'a LearnedStudent,
    forward: &'a Forward,
    dropped: Option<Dropped>,
    steps: BTreeMap<NodeId, Tensor>,
}

impl ActivationGradients<'_> {
    fn through(&mut self, node: NodeId, gradient: &Tensor) -> Result<Option<Tensor>> {
        let Some(ranges) = self.student.activation_ranges.get(&node) else {
            return Ok(None);
        };
        // What the quantizer saw: the forward pass keeps what it made of that.
        let node_of = &self.student.trained.nodes[node.0];
        let read = |position: usize| {
            let input = node_of.inputs.get(position);
            let value = input.and_then(|&input| self.forward.value(input));
            value.ok_or(Error::NoGradient)
        };
        let value = match &node_of.op {
            Op::Relu => activation::relu(read(0)?)?,
            Op::Relu6 => activation::relu6(read(0)?)?,
            Op::Add => activation::add(read(0)?, read(1)?)?,
            Op::BatchNorm(norm) => batch_norm::forward(norm, None, read(0)?)?,
            // Of pools and bare layers the gradient passes by unchanged, and the range stays.
            _ => {
                let count = ranges.log_step.elem_count();
                let still = Tensor::zeros(count, DType::F32, &Device::Cpu)?;
                self.steps.insert(node, still);
                return Ok(None);
            }
        };
        let dropped = self.dropped.map(|dropped| (dropped, node));
        let (gradient, steps) = through_quantizer(ranges, &value, gradient, dropped)?;
        self.steps.insert(node, steps);
        Ok(Some(gradient))
    }
}

impl GradientHooks for ActivationGradients<'_> {
    fn output(&mut self, node: NodeId, gradient: Tensor) -> nn::Result<Tensor> {
        let through = self.through(node, &gradient);
        let through = through.map_err(|error| nn::Error::Hook(Box::new(error)))?;
        Ok(through.unwrap_or(gradient))
    }
}

/// Gradients of `value` and of the logarithms of the steps of its quantizers. Elements `dropped` as
/// outputs of a node pass theirs on as it is, and move no step.
fn through_quantizer(
    ranges: &LearnedRanges,
    value: &Tensor,
    gradient: &Tensor,
    dropped: Option<(Dropped, NodeId)>,
) -> Result<(Tensor, Tensor)> {
    let mut values = gradient.flatten_all()?.to_vec1::<f32>()?;
    // What passes on as it is, put aside so that it moves no step.
    let aside = dropped.map(|(dropped, node)| {
        let whole = values.clone();
        dropped.exchange(node, &mut values, &vec![0.0; whole.len()]);
        (dropped, node, whole)
    });
    let steps = with_values(value, |value| ranges.backward(value, &mut values))??;
    if let Some((dropped, node, whole)) = aside {
        dropped.exchange(node, &mut values, &whole);
    }
    let count = steps.len();
    Ok((
        Tensor::from_vec(values, gradient.shape(), gradient.device())?,
        Tensor::from_vec(steps, count, &Device::Cpu)?,
    ))
}

fn network(
    trained: &Graph,
    widths: &NodeWidths,
    weight_ranges: &BTreeMap<NodeId, LearnedRanges>,
    activation_ranges: &BTreeMap<NodeId, LearnedRanges>,
) -> Result<QuantizedGraph> {
    let nodes = || (0..trained.nodes.len()).map(NodeId);
    let activations = nodes().map(|node| {
        let ranges = activation_ranges.get(&node);
        ranges.map(LearnedRanges::activation_range).transpose()
    });
    let weight_ranges = weight_ranges.iter().map(|(&node, ranges)| {
        let ends = ranges.ends()?;
        let tensor = Tensor::from_slice(ends.as_flattened(), (ends.len(), 2), &Device::Cpu)?;
        Ok((node, tensor))
    });
    Ok(QuantizedGraph {
        weight_bits: widths.weights.clone(),
        weight_ranges: weight_ranges.collect::<Result<_>>()?,
        activations: activations.collect::<Result<_>>()?,
        graph: trained.clone(),
    })
}

fn weight(op: &Op) -> Option<&Tensor> {
    match op {
        Op::Conv2d(conv) => Some(&conv.weight),
        Op::Linear(linear) => Some(&linear.weight),
        _ => None,
    }
}

fn row_size(weight: &Tensor) -> Result<usize> {
    Ok(weight.elem_count() / weight.dim(0)?)
}
