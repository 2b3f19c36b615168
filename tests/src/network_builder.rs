//! Quantized networks layer by layer, with random weights.

use std::collections::BTreeMap;

use lowbit_host::graph::{
    ActivationRange, BatchNorm, Conv2d, Graph, Linear, Node, NodeId, Normalization, Op, Padding,
    Placement, QuantizedGraph,
};
use lowbit_host::zoo::{Parameters, RandomParameters};

/// Sizes of a convolution, padded so that a stride of 1 keeps the image's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Input and output channels.
    pub channels: [usize; 2],
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Step in rows and columns.
    pub stride: usize,
    /// Channel groups.
    pub groups: usize,
}

impl Shape {
    /// A kernel that steps over every pixel and sees all channels.
    #[must_use]
    pub const fn dense(input: usize, output: usize, kernel: usize) -> Self {
        Self {
            channels: [input, output],
            kernel,
            stride: 1,
            groups: 1,
        }
    }
}

/// A network under construction. Every method adds nodes and returns the last one.
#[derive(Debug)]
pub struct NetworkBuilder {
    network: QuantizedGraph,
    parameters: RandomParameters,
}

impl NetworkBuilder {
    /// A network that reads images of `input_shape` (channels, height, width).
    #[must_use]
    pub fn new(name: &str, input_shape: [usize; 3]) -> Self {
        let channels = input_shape[0];
        let mut builder = Self {
            network: QuantizedGraph {
                graph: Graph {
                    name: name.to_owned(),
                    input_shape,
                    normalization: Normalization {
                        mean: vec![0.5; channels],
                        std: vec![0.25; channels],
                    },
                    classes: 0,
                    nodes: Vec::new(),
                    placement: Placement::default(),
                },
                weight_bits: Vec::new(),
                weight_ranges: BTreeMap::new(),
                activations: Vec::new(),
            },
            parameters: RandomParameters::new(1),
        };
        builder.push("input", Op::Input, &[]);
        builder
    }

    /// The input.
    #[must_use]
    pub const fn input(&self) -> NodeId {
        NodeId(0)
    }

    /// Adds a node without quantizer.
    pub fn push(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> NodeId {
        let id = NodeId(self.network.graph.nodes.len());
        self.network.graph.nodes.push(Node {
            name: name.to_owned(),
            op,
            inputs: inputs.to_vec(),
        });
        self.network.weight_bits.push(None);
        self.network.activations.push(None);
        id
    }

    /// A ReLU with a quantizer of `bits` bits.
    pub fn relu(&mut self, name: &str, bits: u8, input: NodeId) -> NodeId {
        let node = self.push(name, Op::Relu, &[input]);
        self.quantize(bits, node)
    }

    /// Puts a quantizer of `bits` bits behind a node.
    pub fn quantize(&mut self, bits: u8, node: NodeId) -> NodeId {
        self.network.activations[node.0] = Some(ActivationRange {
            bits,
            min: 0.0,
            max: 3.0,
        });
        node
    }

    /// Convolution with weights of `bits[0]` bits, and a ReLU with a quantizer of `bits[1]` bits.
    ///
    /// # Panics
    /// If the weights cannot be made.
    pub fn conv(&mut self, name: &str, shape: &Shape, bits: [u8; 2], input: NodeId) -> NodeId {
        let conv = self.convolve(name, shape, bits[0], input);
        self.relu(&format!("{name}.relu"), bits[1], conv)
    }

    /// The same with a BatchNorm before the ReLU, so that it can be calibrated.
    ///
    /// # Panics
    /// If the parameters cannot be made.
    pub fn normalized_conv(
        &mut self,
        name: &str,
        shape: &Shape,
        bits: [u8; 2],
        input: NodeId,
    ) -> NodeId {
        let conv = self.convolve(name, shape, bits[0], input);
        let sizes = [shape.channels[1]];
        let mut get = |name| self.parameters.get(name, &sizes).expect("random");
        let op = Op::BatchNorm(BatchNorm {
            weight: None,
            bias: None,
            running_mean: get("running_mean"),
            running_var: get("running_var"),
            eps: 1e-5,
        });
        let normalized = self.push(&format!("{name}.norm"), op, &[conv]);
        self.relu(&format!("{name}.relu"), bits[1], normalized)
    }

    fn convolve(&mut self, name: &str, shape: &Shape, bits: u8, input: NodeId) -> NodeId {
        let Shape {
            channels: [read, written],
            kernel,
            stride,
            groups,
        } = *shape;
        let sizes = [written, read / groups, kernel, kernel];
        let op = Op::Conv2d(Conv2d {
            weight: self.parameters.get("weight", &sizes).expect("random"),
            bias: None,
            stride,
            padding: Padding::same(kernel / 2),
            groups,
        });
        let conv = self.push(name, op, &[input]);
        self.network.weight_bits[conv.0] = Some(bits);
        conv
    }

    /// Linear layer with weights of `bits` bits.
    ///
    /// # Panics
    /// If the weights cannot be made.
    pub fn linear(&mut self, name: &str, sizes: [usize; 2], bits: u8, input: NodeId) -> NodeId {
        let [features, outputs] = sizes;
        let op = Op::Linear(Linear {
            weight: self
                .parameters
                .get("weight", &[outputs, features])
                .expect("random"),
            bias: None,
        });
        let linear = self.push(name, op, &[input]);
        self.network.weight_bits[linear.0] = Some(bits);
        linear
    }

    /// Pools the image and ends with a classifier of 8-bit weights.
    #[must_use]
    pub fn classify(mut self, features: usize, classes: usize, image: NodeId) -> QuantizedGraph {
        let pooled = self.push("pool", Op::GlobalAveragePool, &[image]);
        self.linear("classifier", [features, classes], 8, pooled);
        self.finish(classes)
    }

    /// The network, whose last node is its classifier.
    #[must_use]
    pub fn finish(mut self, classes: usize) -> QuantizedGraph {
        self.network.graph.classes = classes;
        self.network
    }
}
