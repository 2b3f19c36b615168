//! The quantized copy of the teacher, in training.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{
    Error, Result,
    config::Bits,
    fake_quantized::{fake_quantize_activation, with_quantized_weights, with_values},
    methods::NetworkGradient,
    observer::{RangeObserver, StartCorrection},
    quantizer::{LinearQuantizer, parallel_range},
};
use crate::{
    graph::{ActivationRange, Graph, NodeId, Op, QuantizedGraph},
    nn::{
        self,
        executor::{
            self, BatchStatistics, ExtraGradients, Forward, ForwardOptions, Gradients, Hooks,
            Wanted,
        },
    },
};

/// The quantized copy of the teacher: the same operators in evaluation mode, with the weights of
/// all convolutions and linear layers and the outputs of all ReLUs fake-quantized.
#[derive(Debug, Clone)]
pub struct Student {
    bits: Bits,
    /// What the optimizer moves.
    trained: Graph,
    /// The same with weights that take the values of codes only.
    quantized: Graph,
    /// Behind nodes that have a quantizer.
    observers: Vec<Option<RangeObserver>>,
}

impl Student {
    /// A copy of `teacher` whose ranges have seen nothing.
    ///
    /// # Errors
    /// If the weights cannot be quantized.
    pub fn new(teacher: &Graph, bits: Bits, correction: StartCorrection) -> Result<Self> {
        let observer = |op: &Op| is_quantized(op).then(|| RangeObserver::new(correction));
        Ok(Self {
            bits,
            trained: teacher.clone(),
            quantized: with_values_of_codes(teacher, bits)?,
            observers: teacher
                .nodes
                .iter()
                .map(|node| observer(&node.op))
                .collect(),
        })
    }

    /// The float parameters.
    #[must_use]
    pub fn trained(&self) -> &Graph {
        &self.trained
    }

    /// The ranges behind the nodes that have a quantizer, in the order of the nodes.
    pub fn observers(&self) -> impl Iterator<Item = &RangeObserver> {
        self.observers.iter().flatten()
    }

    /// The ranges of [`Student::observers`], to be set.
    pub fn observers_mut(&mut self) -> impl Iterator<Item = &mut RangeObserver> {
        self.observers.iter_mut().flatten()
    }

    /// Logits of `images`. If `observe`, every range takes in its tensor before it quantizes it.
    ///
    /// # Errors
    /// [`Error::NothingObserved`] if a range has seen nothing and is not to observe, or if the
    /// images do not fit the network.
    pub fn forward(&mut self, images: &Tensor, observe: bool, keep: bool) -> Result<Forward> {
        let options = ForwardOptions {
            batch_statistics: BatchStatistics::Running,
            keep_for_backward: keep,
            record_batch_norm_inputs: false,
        };
        let mut hook = ActivationHook {
            bits: self.bits.activations,
            observe,
            observers: &mut self.observers,
        };
        Ok(executor::forward(
            &self.quantized,
            images,
            options,
            &mut hook,
        )?)
    }

    /// Gradient of the images for `gradient`.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn image_gradient(&self, forward: &Forward, gradient: &NetworkGradient) -> Result<Tensor> {
        let wanted = Wanted {
            input: true,
            parameters: false,
        };
        let gradients = self.backward(forward, gradient, wanted)?;
        gradients.input.ok_or(Error::NoGradient)
    }

    /// Gradients of all parameters, in the order of [`Graph::parameters`], for `gradient`.
    /// Quantizers let gradients through unchanged.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn parameter_gradients(
        &self,
        forward: &Forward,
        gradient: &NetworkGradient,
    ) -> Result<Vec<Tensor>> {
        let wanted = Wanted {
            input: false,
            parameters: true,
        };
        let gradients = self.backward(forward, gradient, wanted)?;
        Ok(gradients.parameters.into_values().collect())
    }

    fn backward(
        &self,
        forward: &Forward,
        gradient: &NetworkGradient,
        wanted: Wanted,
    ) -> Result<Gradients> {
        let extra = ExtraGradients {
            outputs: gradient.nodes.clone(),
            ..ExtraGradients::default()
        };
        let logits = gradient.of_output(forward)?;
        Ok(executor::backward(
            &self.quantized,
            forward,
            &logits,
            wanted,
            &extra,
        )?)
    }

    /// Lets `change` move the parameters, in the order of [`Graph::parameters`], and quantizes them
    /// again.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn update(&mut self, change: impl FnOnce(&mut [&mut Tensor]) -> Result<()>) -> Result<()> {
        let parameters = self.trained.parameters_mut().into_iter();
        change(&mut parameters.map(|(_, tensor)| tensor).collect::<Vec<_>>())?;
        self.quantized = with_values_of_codes(&self.trained, self.bits)?;
        Ok(())
    }

    /// The network as it is now, with its widths and ranges.
    ///
    /// # Errors
    /// [`Error::NothingObserved`] before the first images.
    pub fn quantized_graph(&self) -> Result<QuantizedGraph> {
        let bits = self.bits.activations;
        let activations = self.observers.iter().enumerate().map(|(node, observer)| {
            let range = |observer| activation_range(NodeId(node), observer, bits);
            observer.as_ref().map(range).transpose()
        });
        Ok(QuantizedGraph {
            graph: self.trained.clone(),
            weight_bits: weight_bits(&self.trained, self.bits.weights),
            weight_ranges: BTreeMap::new(),
            activations: activations.collect::<Result<_>>()?,
        })
    }
}

/// Quantizes activations with ranges that may follow them.
struct ActivationHook<'a> {
    bits: u8,
    observe: bool,
    observers: &'a mut [Option<RangeObserver>],
}

impl ActivationHook<'_> {
    fn quantize(&mut self, node: NodeId, value: &Tensor) -> Result<Option<Tensor>> {
        let Some(observer) = &mut self.observers[node.0] else {
            return Ok(None);
        };
        if self.observe {
            let (min, max) = with_values(value, parallel_range)?;
            observer.observe(min.into(), max.into());
        }
        let range = activation_range(node, observer, self.bits)?;
        let quantizer = LinearQuantizer::new(&range)?;
        Ok(Some(fake_quantize_activation(value, &quantizer)?))
    }
}

impl Hooks for ActivationHook<'_> {
    fn output(&mut self, node: NodeId, value: Tensor) -> nn::Result<Tensor> {
        let quantized = self.quantize(node, &value);
        let quantized = quantized.map_err(|error| nn::Error::Hook(Box::new(error)))?;
        Ok(quantized.unwrap_or(value))
    }
}

fn activation_range(node: NodeId, observer: &RangeObserver, bits: u8) -> Result<ActivationRange> {
    let (min, max) = observer.range().ok_or(Error::NothingObserved(node))?;
    Ok(ActivationRange {
        bits,
        min: min as f32,
        max: max as f32,
    })
}

fn is_quantized(op: &Op) -> bool {
    matches!(op, Op::Relu | Op::Relu6)
}

fn with_values_of_codes(graph: &Graph, bits: Bits) -> Result<Graph> {
    with_quantized_weights(graph, &weight_bits(graph, bits.weights), &BTreeMap::new())
}

fn weight_bits(graph: &Graph, bits: u8) -> Vec<Option<u8>> {
    let has_weight = |op: &Op| matches!(op, Op::Conv2d(_) | Op::Linear(_));
    let nodes = graph.nodes.iter();
    nodes
        .map(|node| has_weight(&node.op).then_some(bits))
        .collect()
}
