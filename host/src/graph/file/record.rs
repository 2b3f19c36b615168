//! The operators as they are in the metadata, without their parameters.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::FileError;
use crate::graph::tensor_file::{self, TensorFile};
use crate::graph::{
    ActivationRange, BatchNorm, Conv2d, Linear, NodeId, Normalization, Op, Padding,
};

#[derive(Serialize, Deserialize)]
pub(super) struct Description {
    pub(super) version: u32,
    pub(super) name: String,
    pub(super) input_shape: [usize; 3],
    pub(super) normalization: Normalization,
    pub(super) classes: usize,
    pub(super) nodes: Vec<NodeRecord>,
    pub(super) quantization: Option<Quantization>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Quantization {
    pub(super) weight_bits: Vec<Option<u8>>,
    pub(super) activations: Vec<Option<ActivationRange>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct NodeRecord {
    pub(super) name: String,
    pub(super) op: OpRecord,
    pub(super) inputs: Vec<NodeId>,
}

/// An [`Op`] with the shapes of its parameters in place of the parameters.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OpRecord {
    Input,
    Conv2d {
        weight: [usize; 4],
        bias: bool,
        stride: usize,
        padding: Padding,
        groups: usize,
    },
    BatchNorm {
        channels: usize,
        weight: bool,
        bias: bool,
        eps: f64,
    },
    Relu,
    Relu6,
    LeakyRelu {
        slope: f64,
    },
    Tanh,
    Add,
    SubsamplePad {
        stride: usize,
        front: usize,
        back: usize,
    },
    Upsample {
        factor: usize,
    },
    MaxPool {
        window: [usize; 2],
        stride: [usize; 2],
        padding: Padding,
    },
    AveragePool {
        window: [usize; 2],
        stride: [usize; 2],
    },
    GlobalAveragePool,
    Flatten,
    Reshape {
        shape: [usize; 3],
    },
    Linear {
        weight: [usize; 2],
        bias: bool,
    },
}

/// Splits an operator into its description and its parameters.
pub(super) fn record(
    op: &Op,
    mut put: impl FnMut(&str, &Tensor),
) -> Result<OpRecord, tensor_file::Error> {
    Ok(match op {
        Op::Input => OpRecord::Input,
        Op::Conv2d(conv) => {
            put("weight", &conv.weight);
            conv.bias.iter().for_each(|bias| put("bias", bias));
            OpRecord::Conv2d {
                weight: conv.weight.dims4()?.into(),
                bias: conv.bias.is_some(),
                stride: conv.stride,
                padding: conv.padding,
                groups: conv.groups,
            }
        }
        Op::BatchNorm(norm) => {
            norm.weight.iter().for_each(|weight| put("weight", weight));
            norm.bias.iter().for_each(|bias| put("bias", bias));
            put("running_mean", &norm.running_mean);
            put("running_var", &norm.running_var);
            OpRecord::BatchNorm {
                channels: norm.running_mean.elem_count(),
                weight: norm.weight.is_some(),
                bias: norm.bias.is_some(),
                eps: norm.eps,
            }
        }
        Op::Linear(linear) => {
            put("weight", &linear.weight);
            linear.bias.iter().for_each(|bias| put("bias", bias));
            OpRecord::Linear {
                weight: linear.weight.dims2()?.into(),
                bias: linear.bias.is_some(),
            }
        }
        Op::Relu => OpRecord::Relu,
        Op::Relu6 => OpRecord::Relu6,
        &Op::LeakyRelu { slope } => OpRecord::LeakyRelu { slope },
        Op::Tanh => OpRecord::Tanh,
        Op::Add => OpRecord::Add,
        &Op::SubsamplePad {
            stride,
            front,
            back,
        } => OpRecord::SubsamplePad {
            stride,
            front,
            back,
        },
        &Op::Upsample { factor } => OpRecord::Upsample { factor },
        &Op::MaxPool {
            window,
            stride,
            padding,
        } => OpRecord::MaxPool {
            window,
            stride,
            padding,
        },
        &Op::AveragePool { window, stride } => OpRecord::AveragePool { window, stride },
        Op::GlobalAveragePool => OpRecord::GlobalAveragePool,
        Op::Flatten => OpRecord::Flatten,
        &Op::Reshape { shape } => OpRecord::Reshape { shape },
    })
}

/// Joins an operator's description and its parameters.
pub(super) fn restore(file: &TensorFile, node: &str, op: OpRecord) -> Result<Op, FileError> {
    let get = |part: &str, shape: &[usize]| file.tensor(&format!("{node}.{part}"), shape);
    let get_if =
        |there: bool, part: &str, size: usize| there.then(|| get(part, &[size])).transpose();
    Ok(match op {
        OpRecord::Input => Op::Input,
        OpRecord::Conv2d {
            weight,
            bias,
            stride,
            padding,
            groups,
        } => Op::Conv2d(Conv2d {
            weight: get("weight", &weight)?,
            bias: get_if(bias, "bias", weight[0])?,
            stride,
            padding,
            groups,
        }),
        OpRecord::BatchNorm {
            channels,
            weight,
            bias,
            eps,
        } => Op::BatchNorm(BatchNorm {
            weight: get_if(weight, "weight", channels)?,
            bias: get_if(bias, "bias", channels)?,
            running_mean: get("running_mean", &[channels])?,
            running_var: get("running_var", &[channels])?,
            eps,
        }),
        OpRecord::Linear { weight, bias } => Op::Linear(Linear {
            weight: get("weight", &weight)?,
            bias: get_if(bias, "bias", weight[0])?,
        }),
        OpRecord::Relu => Op::Relu,
        OpRecord::Relu6 => Op::Relu6,
        OpRecord::LeakyRelu { slope } => Op::LeakyRelu { slope },
        OpRecord::Tanh => Op::Tanh,
        OpRecord::Add => Op::Add,
        OpRecord::SubsamplePad {
            stride,
            front,
            back,
        } => Op::SubsamplePad {
            stride,
            front,
            back,
        },
        OpRecord::Upsample { factor } => Op::Upsample { factor },
        OpRecord::MaxPool {
            window,
            stride,
            padding,
        } => Op::MaxPool {
            window,
            stride,
            padding,
        },
        OpRecord::AveragePool { window, stride } => Op::AveragePool { window, stride },
        OpRecord::GlobalAveragePool => Op::GlobalAveragePool,
        OpRecord::Flatten => Op::Flatten,
        OpRecord::Reshape { shape } => Op::Reshape { shape },
    })
}
