//! Networks made for tests: random weights, BatchNorm statistics and ranges measured on random
//! images.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use lowbit_host::graph::{
    ActivationRange, BatchNorm, Conv2d, Graph, Linear, Node, NodeId, Op, Padding, Placement,
    QuantizedGraph,
};
use lowbit_host::nn::executor::{BatchStatistics, ForwardOptions, forward};
use lowbit_host::nn::images;
use lowbit_host::zoo::{self, RandomParameters};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

use crate::compared::{exact_normalization, random_images};

/// Network `name` of the zoo with all widths `bits`.
pub(crate) fn random_network(name: &str, bits: u8) -> QuantizedGraph {
    let network = zoo::network(name).unwrap();
    let normalization = exact_normalization(network.input_shape[0]);
    let mut graph = network
        .build(&mut RandomParameters::new(1), 10, normalization)
        .unwrap();
    let quantizers = graph.quantizers().into_iter().enumerate();
    let sites: Vec<NodeId> = quantizers
        .filter_map(|(index, quantizer)| quantizer.map(|_| NodeId(index)))
        .collect();
    let ranges = calibrate(&mut graph, &sites);
    with_widths(graph, ranges, |_| bits)
}

/// A graph with frozen ranges and the width `bits(node)` for weights and activations.
pub(crate) fn with_widths(
    graph: Graph,
    ranges: Vec<Option<ActivationRange>>,
    bits: impl Fn(usize) -> u8,
) -> QuantizedGraph {
    let weighted = |op: &Op| matches!(op, Op::Conv2d(_) | Op::Linear(_));
    let weight_bits = graph.nodes.iter().enumerate();
    let weight_bits = weight_bits.map(|(index, node)| weighted(&node.op).then(|| bits(index)));
    let widen = |(index, range): (usize, Option<ActivationRange>)| {
        range.map(|range| ActivationRange {
            bits: bits(index),
            ..range
        })
    };
    QuantizedGraph {
        weight_bits: weight_bits.collect(),
        weight_ranges: BTreeMap::new(),
        activations: ranges.into_iter().enumerate().map(widen).collect(),
        graph,
    }
}

/// Gives every BatchNorm the moments of its input over random images, with random gamma (some of
/// them negative) and beta, and returns least and greatest value of the nodes in `sites`.
fn calibrate(graph: &mut Graph, sites: &[NodeId]) -> Vec<Option<ActivationRange>> {
    let mut generator = ChaCha12Rng::seed_from_u64(3);
    for node in &mut graph.nodes {
        if let Op::BatchNorm(norm) = &mut node.op {
            let channels = norm.running_mean.elem_count();
            norm.weight = Some(vector(channels, || {
                let size = generator.random_range(0.5..1.5);
                if generator.random_bool(0.2) {
                    -size
                } else {
                    size
                }
            }));
            norm.bias = Some(vector(channels, || generator.random_range(-0.5..0.5)));
        }
    }
    let [channels, height, width] = graph.input_shape;
    let dataset = random_images([height, width, channels], 8, 5);
    let indices: Vec<usize> = (0..dataset.len()).collect();
    let input = images(&dataset, &indices, &graph.normalization).unwrap();
    let options = ForwardOptions {
        batch_statistics: BatchStatistics::Batch,
        keep_for_backward: true,
        record_batch_norm_inputs: true,
    };
    let pass = forward(graph, &input, options, &mut ()).unwrap();
    let mut ranges = vec![None; graph.nodes.len()];
    for &site in sites {
        let value = pass.value(site).unwrap();
        let scalar = |tensor: candle_core::Result<Tensor>| tensor.unwrap().to_scalar().unwrap();
        let (min, max) = (scalar(value.min_all()), scalar(value.max_all()));
        ranges[site.0] = Some(ActivationRange { bits: 8, min, max });
    }
    for moments in pass.batch_norm_inputs().unwrap() {
        if let Op::BatchNorm(norm) = &mut graph.nodes[moments.node.0].op {
            let channels = moments.mean.len();
            norm.running_mean = Tensor::from_vec(moments.mean, channels, &Device::Cpu).unwrap();
            norm.running_var = Tensor::from_vec(moments.var, channels, &Device::Cpu).unwrap();
        }
    }
    ranges
}

fn vector(length: usize, next: impl FnMut() -> f32) -> Tensor {
    let values: Vec<f32> = std::iter::repeat_with(next).take(length).collect();
    Tensor::from_vec(values, length, &Device::Cpu).unwrap()
}

/// A graph under construction. Methods return the node that they add; those that end in a
/// quantizer note it.
pub(crate) struct Builder {
    graph: Graph,
    sites: Vec<NodeId>,
    generator: ChaCha12Rng,
}

/// Sizes of a convolution.
pub(crate) struct Shape {
    pub(crate) channels: [usize; 2],
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: Padding,
    pub(crate) groups: usize,
}

impl Builder {
    pub(crate) fn new(input_shape: [usize; 3]) -> Self {
        let mut builder = Self {
            graph: Graph {
                name: "small".into(),
                input_shape,
                normalization: exact_normalization(input_shape[0]),
                classes: 0,
                nodes: Vec::new(),
                placement: Placement::default(),
            },
            sites: Vec::new(),
            generator: ChaCha12Rng::seed_from_u64(11),
        };
        builder.push(Op::Input, &[]);
        builder
    }

    pub(crate) fn input(&self) -> NodeId {
        NodeId(0)
    }

    pub(crate) fn push(&mut self, op: Op, inputs: &[NodeId]) -> NodeId {
        let id = NodeId(self.graph.nodes.len());
        self.graph.nodes.push(Node {
            name: format!("node{}", id.0),
            op,
            inputs: inputs.to_vec(),
        });
        id
    }

    /// Marks `node` as one with a quantizer behind it.
    pub(crate) fn quantize(&mut self, node: NodeId) -> NodeId {
        self.sites.push(node);
        node
    }

    pub(crate) fn relu(&mut self, input: NodeId) -> NodeId {
        let relu = self.push(Op::Relu, &[input]);
        self.quantize(relu)
    }

    pub(crate) fn conv(&mut self, shape: &Shape, bias: bool, input: NodeId) -> NodeId {
        let Shape {
            channels: [taps, out],
            kernel,
            stride,
            padding,
            groups,
        } = *shape;
        let weight = self.weight(&[out, taps / groups, kernel, kernel]);
        let bias = bias.then(|| self.bias(out));
        self.push(
            Op::Conv2d(Conv2d {
                weight,
                bias,
                stride,
                padding,
                groups,
            }),
            &[input],
        )
    }

    /// Convolution and BatchNorm.
    pub(crate) fn conv_norm(&mut self, shape: &Shape, bias: bool, input: NodeId) -> NodeId {
        let conv = self.conv(shape, bias, input);
        let channels = shape.channels[1];
        let norm = BatchNorm {
            weight: None,
            bias: None,
            running_mean: vector(channels, || 0.0),
            running_var: vector(channels, || 1.0),
            eps: 1e-5,
        };
        self.push(Op::BatchNorm(norm), &[conv])
    }

    pub(crate) fn linear(&mut self, features: usize, out: usize, input: NodeId) -> NodeId {
        let weight = self.weight(&[out, features]);
        let bias = Some(self.bias(out));
        self.graph.classes = out;
        self.push(Op::Linear(Linear { weight, bias }), &[input])
    }

    /// Ends the network; widths are chosen by node.
    pub(crate) fn finish(mut self, bits: impl Fn(usize) -> u8) -> QuantizedGraph {
        let ranges = calibrate(&mut self.graph, &self.sites);
        with_widths(self.graph, ranges, bits)
    }

    fn weight(&mut self, shape: &[usize]) -> Tensor {
        let inputs: usize = shape[1..].iter().product();
        let size = (3.0 / inputs as f32).sqrt();
        let generator = &mut self.generator;
        let values = vector(shape.iter().product(), || {
            generator.random_range(-size..size)
        });
        values.reshape(shape).unwrap()
    }

    fn bias(&mut self, length: usize) -> Tensor {
        let generator = &mut self.generator;
        vector(length, || generator.random_range(-0.5..0.5))
    }
}
