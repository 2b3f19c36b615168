//! The trained ResNet-20, quantized in a moment.

use std::collections::BTreeMap;
use std::path::Path;

use lowbit_host::graph::{ActivationRange, Normalization, Op, QuantizedGraph};
use lowbit_host::import;

/// The network at `path` with every width `bits` and every activation in 0 to 5, where nearly all
/// of them lie.
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn quantized_resnet20(path: &Path, bits: u8) -> QuantizedGraph {
    let normalization = Normalization {
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
    };
    let graph = import::load(path, "resnet20", Some(10), normalization).expect("loads");
    let weight_bits = graph.nodes.iter().map(|node| match node.op {
        Op::Conv2d(_) | Op::Linear(_) => Some(bits),
        _ => None,
    });
    let range = ActivationRange {
        bits,
        min: 0.0,
        max: 5.0,
    };
    let activations = graph.nodes.iter().map(|node| match node.op {
        Op::Relu => Some(range),
        _ => None,
    });
    QuantizedGraph {
        weight_bits: weight_bits.collect(),
        weight_ranges: BTreeMap::new(),
        activations: activations.collect(),
        graph,
    }
}
