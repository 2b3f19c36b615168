//! How much a network's answers change when the weights of one layer are quantized.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::{
    dfq::{FakeQuantized, Result, losses::Logits},
    graph::{Graph, NodeId, Op, QuantizedGraph},
    nn::executor::{self, BatchStatistics, ForwardOptions},
};

/// A layer with weights and what each width does to the network.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSensitivity {
    /// The layer.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Number of weights of an output channel, and number of these.
    pub weights: [usize; 2],
    /// For each of the networks that were given: mean `KL(P || Q)` of the answers, in nats, with
    /// only this layer's weights quantized as there.
    pub divergences: Vec<f64>,
}

/// Measures all layers of `graph` as `quantized` in several ways on `images`, `[batch, channels,
/// height, width]`, normalised. `progress` is called after every layer of every way.
///
/// # Errors
/// If the images do not fit the network.
pub fn measure(
    graph: &Graph,
    images: &Tensor,
    quantized: &[QuantizedGraph],
    progress: &mut dyn FnMut(),
) -> Result<Vec<LayerSensitivity>> {
    let expected = answers(graph, images)?;
    let mut layers = layers(graph)?;
    for quantized in quantized {
        for layer in &mut layers {
            let alone = only(quantized, layer.node);
            let found = Logits::of(&FakeQuantized::new(&alone)?.forward(images)?)?;
            layer.divergences.push(divergence(&expected, &found));
            progress();
        }
    }
    Ok(layers)
}

/// Mean `KL(P || Q)` in nats of the answers of `network`, all of it quantized, and of the network
/// that it comes from.
///
/// # Errors
/// If the images do not fit the network.
pub fn divergence_of(network: &QuantizedGraph, images: &Tensor) -> Result<f64> {
    let expected = answers(&network.graph, images)?;
    let found = Logits::of(&FakeQuantized::new(network)?.forward(images)?)?;
    Ok(divergence(&expected, &found))
}

/// Number of layers with weights.
#[must_use]
pub fn layer_count(graph: &Graph) -> usize {
    let weights = graph.nodes.iter().filter_map(|node| weight(&node.op));
    weights.count()
}

fn layers(graph: &Graph) -> Result<Vec<LayerSensitivity>> {
    let mut layers = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let Some(weight) = weight(&node.op) else {
            continue;
        };
        let channels = weight.dim(0)?;
        layers.push(LayerSensitivity {
            node: NodeId(index),
            name: node.name.clone(),
            weights: [weight.elem_count() / channels.max(1), channels],
            divergences: Vec::new(),
        });
    }
    Ok(layers)
}

fn weight(op: &Op) -> Option<&Tensor> {
    match op {
        Op::Conv2d(convolution) => Some(&convolution.weight),
        Op::Linear(linear) => Some(&linear.weight),
        _ => None,
    }
}

/// `network` with nothing quantized but the weights of `node`.
fn only(network: &QuantizedGraph, node: NodeId) -> QuantizedGraph {
    let bits = network.weight_bits.iter().enumerate();
    let ranges = network.weight_ranges.get_key_value(&node);
    QuantizedGraph {
        graph: network.graph.clone(),
        weight_bits: bits
            .map(|(index, bits)| bits.filter(|_| index == node.0))
            .collect(),
        weight_ranges: ranges
            .map(|(&node, ranges)| (node, ranges.clone()))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        activations: vec![None; network.activations.len()],
    }
}

fn answers(graph: &Graph, images: &Tensor) -> Result<Logits> {
    let options = ForwardOptions {
        batch_statistics: BatchStatistics::Running,
        keep_for_backward: false,
        record_batch_norm_inputs: false,
    };
    Logits::of(&executor::forward(graph, images, options, &mut ())?)
}

/// Rounding can make the divergence of equal answers negative.
fn divergence(expected: &Logits, found: &Logits) -> f64 {
    found.divergence_from(expected, 1.0).value.max(0.0)
}
