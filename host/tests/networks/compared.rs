//! The integer network and the fake-quantized one, layer by layer.
//!
//! Every layer of the float network reads what the integer network computed, so that a difference
//! is that of one layer and does not spread.

use candle_core::{Device, Tensor};
use lowbit_host::data::Dataset;
use lowbit_host::dfq::quantizer::{LinearQuantizer, fake_quantize_weight};
use lowbit_host::graph::{NodeId, QuantizedGraph, Shape, infer_shapes};
use lowbit_host::integer::{IntegerNetwork, LayerOutput};
use lowbit_host::lower::{self, Options, Program};
use lowbit_host::nn::executor::{BatchStatistics, ForwardOptions, Hooks, forward};
use lowbit_host::nn::{Result, images};
use lowbit_host::pack;
use lowbit_runtime::format::Kind;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

/// Distance, in codes, from a rounding boundary within which the single precision of the float
/// network may choose the other side.
const BOUNDARY: f32 = 1e-3;

/// What a comparison found.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Agreement {
    pub(crate) codes: usize,
    /// Codes that differ: by 1, and at a rounding boundary, or the comparison has failed.
    pub(crate) differences: usize,
    /// Largest difference of a logit.
    pub(crate) logits: f32,
}

/// A normalisation that a table of [`INPUT_BITS`] bits represents exactly: the entries are
/// `21 * (pixel - 195)`, and 21 * 195 is the largest number of 13 bits.
pub(crate) fn exact_normalization(channels: usize) -> lowbit_host::graph::Normalization {
    lowbit_host::graph::Normalization {
        mean: vec![195.0 / 255.0; channels],
        std: vec![30.0 / 255.0; channels],
    }
}

/// Width of the table that represents [`exact_normalization`].
pub(crate) const INPUT_BITS: u8 = 13;

/// Images of random pixels with about as many above as below the mean.
pub(crate) fn random_images(shape: [usize; 3], count: usize, seed: u64) -> Dataset {
    let mut generator = ChaCha12Rng::seed_from_u64(seed);
    let pixels = shape.iter().product::<usize>() * count;
    Dataset {
        name: "random".into(),
        shape,
        classes: 1,
        pixels: (0..pixels)
            .map(|_| generator.random_range(135..=255))
            .collect(),
        labels: vec![0; count],
    }
}

pub(crate) fn lower_exact(network: &QuantizedGraph) -> Program {
    let options = Options {
        input_bits: INPUT_BITS,
        ..Options::default()
    };
    lower::lower(network, &options).unwrap()
}

/// Runs both networks on `dataset` and fails if they differ in more than rounding.
pub(crate) fn compare(network: &QuantizedGraph, dataset: &Dataset) -> Agreement {
    let program = lower_exact(network);
    let file = pack::pack(&program, &[]).unwrap();
    let integer = IntegerNetwork::new(&file).unwrap();
    let mut agreement = Agreement::default();
    for index in 0..dataset.len() {
        let pixels = dataset.image(index);
        let mut hooks = Compared {
            network,
            shapes: infer_shapes(&network.graph).unwrap(),
            outputs: quantized_outputs(&program, &integer, pixels),
            next: 0,
            agreement: &mut agreement,
        };
        let input = images(dataset, &[index], &network.graph.normalization).unwrap();
        let options = ForwardOptions {
            batch_statistics: BatchStatistics::Running,
            keep_for_backward: false,
            record_batch_norm_inputs: false,
        };
        let pass = forward(&network.graph, &input, options, &mut hooks).unwrap();
        assert_eq!(
            hooks.next,
            hooks.outputs.len(),
            "an integer tensor without quantizer"
        );
        let float = pass
            .output()
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        for (float, logit) in float.iter().zip(integer.logits(pixels).unwrap()) {
            let difference = (float - (f64::from(logit) / 65536.0) as f32).abs();
            agreement.logits = agreement.logits.max(difference);
        }
    }
    agreement
}

/// Outputs of all operations that end in a quantizer, which come in the order of the quantizers.
fn quantized_outputs(
    program: &Program,
    integer: &IntegerNetwork<'_>,
    pixels: &[u8],
) -> Vec<LayerOutput> {
    let quantized = program.steps.iter().enumerate().filter(|(_, step)| {
        matches!(
            step.kind,
            Kind::Conv2d { .. } | Kind::Add { .. } | Kind::AveragePool { .. }
        )
    });
    quantized
        .map(|(index, _)| integer.layer_output(pixels, index).unwrap().unwrap())
        .collect()
}

/// Fake-quantizes weights, compares activations and puts the integer network's in their place.
struct Compared<'a> {
    network: &'a QuantizedGraph,
    shapes: Vec<Shape>,
    outputs: Vec<LayerOutput>,
    next: usize,
    agreement: &'a mut Agreement,
}

impl Hooks for Compared<'_> {
    fn weight(&mut self, node: NodeId, weight: &Tensor) -> Result<Tensor> {
        let bits = self.network.weight_bits[node.0].unwrap();
        let ranges = self.network.weight_ranges.get(&node);
        Ok(fake_quantize_weight(weight, bits, ranges).unwrap())
    }

    fn output(&mut self, node: NodeId, value: Tensor) -> Result<Tensor> {
        let Some(range) = self.network.activations[node.0] else {
            return Ok(value);
        };
        let quantizer = LinearQuantizer::new(&range).unwrap();
        let output = &self.outputs[self.next];
        self.next += 1;
        let codes = channels_first(&output.bytes, self.shapes[node.0]);
        let float = value.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(float.len(), codes.len(), "{}", output.name);
        for (index, (&value, &code)) in float.iter().zip(&codes).enumerate() {
            let expected = quantizer.code(value);
            self.agreement.codes += 1;
            if code == expected {
                continue;
            }
            let exact = quantizer.scale * value;
            let boundary = (exact.fract().abs() - 0.5).abs();
            assert!(
                code.abs_diff(expected) == 1 && boundary < BOUNDARY,
                "{} element {index}: code {code}, float network {expected} of {exact}",
                output.name
            );
            self.agreement.differences += 1;
        }
        let integers = codes.iter().map(|&code| quantizer.value(code)).collect();
        Ok(Tensor::from_vec(integers, value.dims(), &Device::Cpu)?)
    }
}

fn channels_first(codes: &[u8], shape: Shape) -> Vec<u8> {
    let channels = shape.channels();
    let area = shape.elements() / channels;
    let position = |index: usize| index % area * channels + index / area;
    (0..codes.len())
        .map(|index| codes[position(index)])
        .collect()
}
