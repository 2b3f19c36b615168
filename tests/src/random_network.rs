//! A network of the zoo with random parameters, as a packed file.

use std::collections::BTreeMap;

use lowbit_host::data::Dataset;
use lowbit_host::graph::{ActivationRange, Graph, Normalization, Op, QuantizedGraph, Quantizer};
use lowbit_host::zoo::RandomParameters;
use lowbit_host::{lower, pack, zoo};

const CLASSES: usize = 10;

/// The packed file of `network` with `bits` bits everywhere, 8 for values without activation
/// function.
///
/// # Panics
/// If the network cannot be built, lowered or packed.
#[must_use]
pub fn random_network(network: &str, bits: u8) -> Vec<u8> {
    let mut parameters = RandomParameters::new(1);
    let network = zoo::network(network).expect("is in the zoo");
    let [channels, ..] = network.input_shape;
    let normalization = Normalization {
        mean: vec![0.5; channels],
        std: vec![0.25; channels],
    };
    let graph = network.build(&mut parameters, CLASSES, normalization);
    let quantized = quantize(graph.expect("builds"), bits);
    let program = lower::lower(&quantized, &lower::Options::default()).expect("has integer form");
    pack::pack(&program, &[]).expect("packs")
}

fn quantize(graph: Graph, bits: u8) -> QuantizedGraph {
    let range = |quantizer| match quantizer {
        Quantizer::Activation => ActivationRange {
            bits,
            min: 0.0,
            max: 4.0,
        },
        Quantizer::Linear => ActivationRange {
            bits: 8,
            min: -3.0,
            max: 4.0,
        },
    };
    let has_weights = |op: &Op| matches!(op, Op::Conv2d(_) | Op::Linear(_));
    let ops = graph.nodes.iter().map(|node| &node.op);
    QuantizedGraph {
        weight_bits: ops.map(|op| has_weights(op).then_some(bits)).collect(),
        weight_ranges: BTreeMap::new(),
        activations: graph
            .quantizers()
            .into_iter()
            .map(|quantizer| quantizer.map(range))
            .collect(),
        graph,
    }
}

/// Coloured noise, 32 x 32.
#[must_use]
pub fn noise_images(count: usize) -> Dataset {
    noise([32, 32, 3], count)
}

/// Noise of any height, width and number of channels.
#[must_use]
pub fn noise(shape: [usize; 3], count: usize) -> Dataset {
    let bytes = count * shape.iter().product::<usize>();
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    Dataset {
        name: "noise".into(),
        shape,
        classes: CLASSES,
        pixels: (0..bytes).map(|_| next()).collect(),
        labels: vec![0; count],
    }
}
