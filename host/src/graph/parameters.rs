//! The trainable parameters of a graph in a stable order.

use candle_core::Tensor;

use super::{Graph, NodeId, Op};

/// Which parameter of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParameterName {
    /// Weight of a convolution or linear layer, gamma of a BatchNorm.
    Weight,
    /// Bias, or beta of a BatchNorm.
    Bias,
}

impl ParameterName {
    /// As in a checkpoint, behind the node's name.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
        }
    }
}

impl Graph {
    /// Every trainable parameter, by node, weight before bias.
    #[must_use]
    pub fn parameters(&self) -> Vec<((NodeId, ParameterName), &Tensor)> {
        let mut parameters = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let (weight, bias) = match &node.op {
                Op::Conv2d(conv) => (Some(&conv.weight), conv.bias.as_ref()),
                Op::BatchNorm(norm) => (norm.weight.as_ref(), norm.bias.as_ref()),
                Op::Linear(linear) => (Some(&linear.weight), linear.bias.as_ref()),
                _ => (None, None),
            };
            let id = NodeId(index);
            parameters.extend(weight.map(|tensor| ((id, ParameterName::Weight), tensor)));
            parameters.extend(bias.map(|tensor| ((id, ParameterName::Bias), tensor)));
        }
        parameters
    }

    /// The same, to be replaced.
    pub fn parameters_mut(&mut self) -> Vec<((NodeId, ParameterName), &mut Tensor)> {
        let mut parameters = Vec::new();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let (weight, bias) = match &mut node.op {
                Op::Conv2d(conv) => (Some(&mut conv.weight), conv.bias.as_mut()),
                Op::BatchNorm(norm) => (norm.weight.as_mut(), norm.bias.as_mut()),
                Op::Linear(linear) => (Some(&mut linear.weight), linear.bias.as_mut()),
                _ => (None, None),
            };
            let id = NodeId(index);
            parameters.extend(weight.map(|tensor| ((id, ParameterName::Weight), tensor)));
            parameters.extend(bias.map(|tensor| ((id, ParameterName::Bias), tensor)));
        }
        parameters
    }
}
