//! Nodes of a network, one after the other.

use candle_core::{Result, Tensor};

use super::Parameters;
use super::naming::ConvNames;
use crate::graph::{BatchNorm, Conv2d, Linear, Node, NodeId, Op, Padding};

/// What PyTorch adds to variances.
pub(super) const TORCH_EPS: f64 = 1e-5;
/// What Keras adds to variances.
pub(super) const KERAS_EPS: f64 = 1e-3;

/// Sizes of a convolution.
#[derive(Clone, Copy)]
pub(super) struct Geometry {
    /// Input and output channels.
    pub(super) channels: [usize; 2],
    /// Rows and columns.
    pub(super) kernel: [usize; 2],
    pub(super) stride: usize,
    pub(super) padding: Padding,
    pub(super) groups: usize,
}

impl Geometry {
    /// A square kernel whose windows are centred on pixels.
    pub(super) fn centred(channels: [usize; 2], kernel: usize, stride: usize) -> Self {
        Self {
            channels,
            kernel: [kernel; 2],
            stride,
            padding: Padding::same(kernel / 2),
            groups: 1,
        }
    }

    /// A 3x3 kernel of its own for every channel.
    pub(super) fn depthwise(channels: usize, stride: usize) -> Self {
        Self {
            groups: channels,
            ..Self::centred([channels; 2], 3, stride)
        }
    }
}

pub(super) struct Builder<'a> {
    pub(super) parameters: &'a mut dyn Parameters,
    /// Added to variances.
    eps: f64,
    pub(super) nodes: Vec<Node>,
}

impl<'a> Builder<'a> {
    /// A network of the input only.
    pub(super) fn new(parameters: &'a mut dyn Parameters, eps: f64) -> Self {
        let mut builder = Self {
            parameters,
            eps,
            nodes: Vec::new(),
        };
        builder.push("input", Op::Input, []);
        builder
    }

    pub(super) fn input(&self) -> NodeId {
        NodeId(0)
    }

    pub(super) fn push<const N: usize>(
        &mut self,
        name: &str,
        op: Op,
        inputs: [NodeId; N],
    ) -> NodeId {
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node {
            name: name.to_owned(),
            op,
            inputs: inputs.to_vec(),
        });
        id
    }

    /// A convolution, with bias where there is one.
    pub(super) fn conv(&mut self, name: &str, sizes: Geometry, input: NodeId) -> Result<NodeId> {
        let Geometry {
            channels: [taps, out],
            kernel: [height, width],
            stride,
            padding,
            groups,
        } = sizes;
        let shape = [out, taps / groups, height, width];
        let conv = Op::Conv2d(Conv2d {
            weight: self.parameters.get(&format!("{name}.weight"), &shape)?,
            bias: self.optional(&format!("{name}.bias"), out)?,
            stride,
            padding,
            groups,
        });
        Ok(self.push(name, conv, [input]))
    }

    pub(super) fn norm(&mut self, name: &str, channels: usize, input: NodeId) -> Result<NodeId> {
        let mut get = |part| self.parameters.get(&format!("{name}.{part}"), &[channels]);
        let norm = Op::BatchNorm(BatchNorm {
            weight: Some(get("weight")?),
            bias: Some(get("bias")?),
            running_mean: get("running_mean")?,
            running_var: get("running_var")?,
            eps: self.eps,
        });
        Ok(self.push(name, norm, [input]))
    }

    /// A convolution and BatchNorm.
    pub(super) fn conv_norm(
        &mut self,
        names: &ConvNames,
        sizes: Geometry,
        input: NodeId,
    ) -> Result<NodeId> {
        let conv = self.conv(&names.conv, sizes, input)?;
        self.norm(&names.norm, sizes.channels[1], conv)
    }

    /// A linear layer with bias.
    pub(super) fn linear(
        &mut self,
        name: &str,
        [features, outputs]: [usize; 2],
        input: NodeId,
    ) -> Result<NodeId> {
        let weight = format!("{name}.weight");
        let linear = Op::Linear(Linear {
            weight: self.parameters.get(&weight, &[outputs, features])?,
            bias: Some(self.parameters.get(&format!("{name}.bias"), &[outputs])?),
        });
        Ok(self.push(name, linear, [input]))
    }

    fn optional(&mut self, name: &str, size: usize) -> Result<Option<Tensor>> {
        let there = self.parameters.contains(name);
        there
            .then(|| self.parameters.get(name, &[size]))
            .transpose()
    }
}
