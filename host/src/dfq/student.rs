//! The quantized copy of the teacher, in training.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{
    Error, Result,
    config::NodeWidths,
    fake_quantized::{fake_quantize_activation, with_quantized_weights, with_values},
    methods::NetworkGradient,
    observer::{RangeObserver, StartCorrection},
    on_device::{FollowedActivations, FrozenActivations},
    quantizer::{LinearQuantizer, parallel_range},
};
use crate::{
    graph::{ActivationRange, Graph, NodeId, Op, Operators, Placement, QuantizedGraph},
    nn::{
        self,
        executor::{
            self, BatchStatistics, ExtraGradients, Forward, ForwardOptions, Gradients, Hooks,
            Wanted,
        },
        ops::batch_norm::BatchMoments,
    },
};

/// The quantized copy of the teacher: the same operators in evaluation mode, with the weights of
/// all convolutions and linear layers fake-quantized, and the values of [`Graph::quantizers`].
#[derive(Debug, Clone)]
pub struct Student {
    widths: NodeWidths,
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
    pub fn new(teacher: &Graph, widths: NodeWidths, correction: StartCorrection) -> Result<Self> {
        let quantizers = teacher.quantizers().into_iter();
        Ok(Self {
            quantized: with_values_of_codes(teacher, &widths)?,
            widths,
            trained: teacher.clone(),
            observers: quantizers
                .map(|found| found.map(|_| RangeObserver::new(correction)))
                .collect(),
        })
    }

    /// The same student elsewhere, in single precision: its values mean codes.
    ///
    /// # Errors
    /// If the device has no room for it.
    pub fn placed(mut self, placement: &Placement) -> Result<Self> {
        self.trained = self.trained.placed(&placement.in_single_precision())?;
        self.quantized = with_values_of_codes(&self.trained, &self.widths)?;
        Ok(self)
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

    /// The same student with frozen ranges, one entry per node. Nodes without a quantizer have no
    /// use for theirs.
    #[must_use]
    pub fn with_ranges(mut self, ranges: &[Option<(f32, f32)>]) -> Self {
        for (observer, range) in self.observers.iter_mut().zip(ranges) {
            if let (Some(observer), &Some((min, max))) = (observer, range) {
                observer.freeze(min.into(), max.into());
            }
        }
        self
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
        if self.quantized.placement.operators != Operators::Tuned {
            return self.forward_on_device(images, observe, options);
        }
        let mut hook = ActivationHook {
            bits: &self.widths.activations,
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

    fn forward_on_device(
        &mut self,
        images: &Tensor,
        observe: bool,
        options: ForwardOptions,
    ) -> Result<Forward> {
        let device = &self.quantized.placement.device;
        if observe {
            let bits = &self.widths.activations;
            let mut hook = FollowedActivations::new(bits, &mut self.observers, device)?;
            let pass = executor::forward(&self.quantized, images, options, &mut hook)?;
            hook.finish()?;
            return Ok(pass);
        }
        let mut hook = FrozenActivations::new(&self.quantizers()?, device)?;
        let pass = executor::forward(&self.quantized, images, options, &mut hook)?;
        Ok(pass)
    }

    /// The quantizers of the ranges as they are, one entry per node.
    fn quantizers(&self) -> Result<Vec<Option<LinearQuantizer>>> {
        let quantizer = |(node, observer): (usize, &RangeObserver)| {
            let range = activation_range(NodeId(node), observer, self.widths.activations[node])?;
            LinearQuantizer::new(&range)
        };
        let observers = self.observers.iter().enumerate();
        observers
            .map(|(node, observer)| Some((node, observer.as_ref()?)))
            .map(|observer| observer.map(quantizer).transpose())
            .collect()
    }

    /// Gives BatchNorm `node` other statistics. Does nothing to a node of another kind.
    pub fn set_statistics(&mut self, node: NodeId, moments: &BatchMoments) {
        for graph in [&mut self.trained, &mut self.quantized] {
            if let Op::BatchNorm(norm) = &mut graph.nodes[node.0].op {
                norm.running_mean = moments.mean.clone();
                norm.running_var = moments.var.clone();
            }
        }
    }

    /// What `node` reads of `images`; nothing behind that is computed.
    ///
    /// # Errors
    /// [`Error::NothingObserved`] if a range has seen nothing, or if the images do not fit the
    /// network.
    pub fn input_of(&mut self, node: NodeId, images: &Tensor) -> Result<Tensor> {
        let mut hook = ActivationHook {
            bits: &self.widths.activations,
            observe: false,
            observers: &mut self.observers,
        };
        input_of(&self.quantized, node, images, &mut hook)
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
        self.quantized = with_values_of_codes(&self.trained, &self.widths)?;
        Ok(())
    }

    /// The network as it is now, with its widths and ranges.
    ///
    /// # Errors
    /// [`Error::NothingObserved`] before the first images.
    pub fn quantized_graph(&self) -> Result<QuantizedGraph> {
        let activations = self.observers.iter().enumerate().map(|(node, observer)| {
            let bits = self.widths.activations[node];
            let range = |observer| activation_range(NodeId(node), observer, bits);
            observer.as_ref().map(range).transpose()
        });
        Ok(QuantizedGraph {
            graph: self.trained.clone(),
            weight_bits: self.widths.weights.clone(),
            weight_ranges: BTreeMap::new(),
            activations: activations.collect::<Result<_>>()?,
        })
    }
}

/// Quantizes activations with ranges that may follow them.
struct ActivationHook<'a> {
    /// For each node.
    bits: &'a [u8],
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
        let range = activation_range(node, observer, self.bits[node.0])?;
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

/// What `node` of `graph` reads of `images`; nothing behind that is computed.
pub(super) fn input_of(
    graph: &Graph,
    node: NodeId,
    images: &Tensor,
    hooks: &mut dyn Hooks,
) -> Result<Tensor> {
    let Some(&input) = graph.nodes[node.0].inputs.first() else {
        return Ok(images.clone());
    };
    let mut front = graph.clone();
    front.nodes.truncate(input.0 + 1);
    let options = ForwardOptions {
        batch_statistics: BatchStatistics::Running,
        keep_for_backward: false,
        record_batch_norm_inputs: false,
    };
    let pass = executor::forward(&front, images, options, hooks)?;
    Ok(pass.output().clone())
}

fn activation_range(node: NodeId, observer: &RangeObserver, bits: u8) -> Result<ActivationRange> {
    let (min, max) = observer.range().ok_or(Error::NothingObserved(node))?;
    Ok(ActivationRange {
        bits,
        min: min as f32,
        max: max as f32,
    })
}

fn with_values_of_codes(graph: &Graph, widths: &NodeWidths) -> Result<Graph> {
    with_quantized_weights(graph, &widths.weights, &BTreeMap::new())
}
