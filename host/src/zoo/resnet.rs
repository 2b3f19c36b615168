//! The residual networks for CIFAR: a 3x3 convolution, three stages of basic blocks with 16, 32 and
//! 64 channels, global average pool, linear layer.

use candle_core::Result;

use super::Parameters;
use super::naming::{ConvNames, Naming};
use crate::graph::{BatchNorm, Conv2d, Linear, Node, NodeId, Op, Padding};

const CHANNELS: [usize; 3] = [16, 32, 64];
const IMAGE_CHANNELS: usize = 3;
const EPS: f64 = 1e-5;

/// The operators of a network with `blocks` basic blocks per stage.
pub(super) fn nodes(
    parameters: &mut dyn Parameters,
    blocks: usize,
    classes: usize,
) -> Result<Vec<Node>> {
    let naming = Naming::detect(parameters);
    let mut builder = Builder {
        parameters,
        naming,
        nodes: Vec::new(),
    };
    let input = builder.push("input", Op::Input, []);
    let stem = Geometry {
        channels: [IMAGE_CHANNELS, CHANNELS[0]],
        kernel: 3,
        stride: 1,
    };
    let stem = builder.conv_norm(&naming.stem(), stem, input)?;
    let mut image = builder.push("relu", Op::Relu, [stem]);
    let mut channels = CHANNELS[0];
    for (stage, &width) in CHANNELS.iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let prefix = naming.block(stage, block);
            image = builder.block(&prefix, [channels, width], stride, image)?;
            channels = width;
        }
    }
    let pooled = builder.push("pool", Op::GlobalAveragePool, [image]);
    builder.linear(channels, classes, pooled)?;
    Ok(builder.nodes)
}

/// Input and output channels, rows and columns of the kernel, step.
#[derive(Clone, Copy)]
struct Geometry {
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
}

struct Builder<'a> {
    parameters: &'a mut dyn Parameters,
    naming: Naming,
    nodes: Vec<Node>,
}

impl Builder<'_> {
    fn push<const N: usize>(&mut self, name: &str, op: Op, inputs: [NodeId; N]) -> NodeId {
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node {
            name: name.to_owned(),
            op,
            inputs: inputs.to_vec(),
        });
        id
    }

    /// `relu(body(x) + shortcut(x))`.
    fn block(
        &mut self,
        prefix: &str,
        channels: [usize; 2],
        stride: usize,
        input: NodeId,
    ) -> Result<NodeId> {
        let shortcut = self.shortcut(prefix, channels, stride, input)?;
        let first = Geometry {
            channels,
            kernel: 3,
            stride,
        };
        let hidden = self.conv_norm(&self.naming.body(prefix, 1), first, input)?;
        let hidden = self.push(&format!("{prefix}relu1"), Op::Relu, [hidden]);
        let second = Geometry {
            channels: [channels[1]; 2],
            kernel: 3,
            stride: 1,
        };
        let body = self.conv_norm(&self.naming.body(prefix, 2), second, hidden)?;
        let sum = self.push(&format!("{prefix}add"), Op::Add, [body, shortcut]);
        Ok(self.push(&format!("{prefix}relu2"), Op::Relu, [sum]))
    }

    /// A projection where the checkpoint has one, else the input itself, or, where the shape
    /// changes, every `stride`-th pixel of it with channels of zeros on both sides.
    fn shortcut(
        &mut self,
        prefix: &str,
        channels: [usize; 2],
        stride: usize,
        input: NodeId,
    ) -> Result<NodeId> {
        let names = self.naming.projection(prefix);
        if self.parameters.contains(&format!("{}.weight", names.conv)) {
            let geometry = Geometry {
                channels,
                kernel: 1,
                stride,
            };
            return self.conv_norm(&names, geometry, input);
        }
        if stride == 1 && channels[0] == channels[1] {
            return Ok(input);
        }
        let added = channels[1] - channels[0];
        let op = Op::SubsamplePad {
            stride,
            front: added / 2,
            back: added - added / 2,
        };
        Ok(self.push(&format!("{prefix}shortcut"), op, [input]))
    }

    fn conv_norm(
        &mut self,
        names: &ConvNames,
        geometry: Geometry,
        input: NodeId,
    ) -> Result<NodeId> {
        let Geometry {
            channels: [taps, out],
            kernel,
            stride,
        } = geometry;
        let weight = format!("{}.weight", names.conv);
        let conv = Op::Conv2d(Conv2d {
            weight: self.parameters.get(&weight, &[out, taps, kernel, kernel])?,
            bias: self.optional(&format!("{}.bias", names.conv), out)?,
            stride,
            padding: Padding::same(kernel / 2),
            groups: 1,
        });
        let conv = self.push(&names.conv, conv, [input]);
        let mut get = |part| {
            self.parameters
                .get(&format!("{}.{part}", names.norm), &[out])
        };
        let norm = Op::BatchNorm(BatchNorm {
            weight: Some(get("weight")?),
            bias: Some(get("bias")?),
            running_mean: get("running_mean")?,
            running_var: get("running_var")?,
            eps: EPS,
        });
        Ok(self.push(&names.norm, norm, [conv]))
    }

    fn linear(&mut self, features: usize, classes: usize, input: NodeId) -> Result<NodeId> {
        let name = self.naming.classifier();
        let linear = Op::Linear(Linear {
            weight: self
                .parameters
                .get(&format!("{name}.weight"), &[classes, features])?,
            bias: Some(self.parameters.get(&format!("{name}.bias"), &[classes])?),
        });
        Ok(self.push(name, linear, [input]))
    }

    fn optional(&mut self, name: &str, size: usize) -> Result<Option<candle_core::Tensor>> {
        let there = self.parameters.contains(name);
        there
            .then(|| self.parameters.get(name, &[size]))
            .transpose()
    }
}
