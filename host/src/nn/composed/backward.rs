//! One node, backwards.

use candle_core::Tensor;

use super::{batch_norm, convolution, elementwise, linear, pool, resample};
use crate::graph::{BatchNorm, Conv2d, Linear, NodeId, Op, Padding, ParameterName, Precision};
use crate::nn::backward::Walk;
use crate::nn::executor::BatchStatistics;
use crate::nn::forward::windows;
use crate::nn::ops::batch_norm::Wanted;
use crate::nn::{Error, Result};

/// Hands the gradient at the output of node `id` on to its parameters and inputs.
pub(in crate::nn) fn node(
    walk: &mut Walk<'_>,
    id: NodeId,
    gradient: &Tensor,
    precision: Precision,
) -> Result<()> {
    let node = &walk.graph.nodes[id.0];
    match &node.op {
        Op::Input => {
            walk.gradients.input = walk.wanted.input.then(|| gradient.clone());
            Ok(())
        }
        Op::Conv2d(conv) => conv2d(walk, id, conv, gradient, precision),
        Op::Linear(layer) => linear_layer(walk, id, layer, gradient, precision),
        Op::BatchNorm(norm) => normalization(walk, id, norm, gradient),
        _ if !walk.needed[id.0] => Ok(()),
        op => {
            if matches!(op, Op::Add) {
                walk.send(node, 1, gradient.clone())?;
            }
            let back = without_parameters(walk, id, op, gradient)?;
            walk.send(node, 0, back)
        }
    }
}

fn conv2d(
    walk: &mut Walk<'_>,
    id: NodeId,
    conv: &Conv2d,
    gradient: &Tensor,
    precision: Precision,
) -> Result<()> {
    let node = &walk.graph.nodes[id.0];
    let x = walk.forward.read(node)?;
    if walk.wanted.parameters {
        let weight = convolution::backward_weight(conv, x, gradient, precision)?;
        walk.parameter(id, ParameterName::Weight, weight);
        if conv.bias.is_some() {
            let bias = convolution::backward_bias(gradient)?;
            walk.parameter(id, ParameterName::Bias, bias);
        }
    }
    if walk.input_needed(node) {
        let weight = walk.forward.weight(id)?;
        let back = convolution::backward_input(conv, weight, x.dims(), gradient, precision)?;
        walk.send(node, 0, back)?;
    }
    Ok(())
}

fn linear_layer(
    walk: &mut Walk<'_>,
    id: NodeId,
    layer: &Linear,
    gradient: &Tensor,
    precision: Precision,
) -> Result<()> {
    let node = &walk.graph.nodes[id.0];
    let x = walk.forward.read(node)?;
    if walk.wanted.parameters {
        let weight = linear::backward_weight(x, gradient, precision)?;
        walk.parameter(id, ParameterName::Weight, weight);
        if layer.bias.is_some() {
            let bias = linear::backward_bias(gradient)?;
            walk.parameter(id, ParameterName::Bias, bias);
        }
    }
    if walk.input_needed(node) {
        let weight = walk.forward.weight(id)?;
        let back = linear::backward_input(weight, gradient, precision)?;
        walk.send(node, 0, back)?;
    }
    Ok(())
}

fn normalization(
    walk: &mut Walk<'_>,
    id: NodeId,
    norm: &BatchNorm,
    gradient: &Tensor,
) -> Result<()> {
    let node = &walk.graph.nodes[id.0];
    let x = walk.forward.read(node)?;
    let batch = match walk.forward.batch_statistics {
        BatchStatistics::Batch => walk.forward.moments.get(&id),
        BatchStatistics::Running => None,
    };
    let wanted = Wanted {
        input: walk.input_needed(node),
        parameters: walk.wanted.parameters,
    };
    let extra = walk.extra.batch_norm_inputs.get(&id);
    let found = batch_norm::backward(norm, batch, x, gradient, extra, wanted)?;
    for (name, value) in [
        (ParameterName::Weight, found.weight),
        (ParameterName::Bias, found.bias),
    ] {
        if let Some(value) = value {
            walk.parameter(id, name, value);
        }
    }
    found.input.map_or(Ok(()), |back| walk.send(node, 0, back))
}

fn without_parameters(walk: &Walk<'_>, id: NodeId, op: &Op, gradient: &Tensor) -> Result<Tensor> {
    let x = walk.forward.read(&walk.graph.nodes[id.0])?;
    match op {
        Op::Relu => elementwise::relu_backward(x, gradient),
        Op::Relu6 => elementwise::relu6_backward(x, gradient),
        Op::LeakyRelu { slope } => elementwise::leaky_relu_backward(x, *slope, gradient),
        Op::Tanh => {
            let output = walk.forward.value(id).ok_or(Error::NotKept)?;
            elementwise::tanh_backward(output, gradient)
        }
        Op::SubsamplePad { stride, front, .. } => {
            resample::subsample_pad_backward(x.dims(), *stride, *front, gradient)
        }
        Op::Upsample { factor } => resample::upsample_backward(x.dims(), *factor, gradient),
        Op::MaxPool {
            window,
            stride,
            padding,
        } => pool::max_backward(x, &windows(*window, *stride, *padding), gradient),
        Op::AveragePool { window, stride } => {
            let windows = windows(*window, *stride, Padding::default());
            pool::average_backward(x, &windows, gradient)
        }
        Op::GlobalAveragePool => pool::global_average_backward(x.dims(), gradient),
        Op::Flatten | Op::Reshape { .. } => Ok(gradient.reshape(x.dims())?),
        // A sum passes its gradient on; `node` handles the others.
        Op::Add | Op::Input | Op::Conv2d(_) | Op::Linear(_) | Op::BatchNorm(_) => {
            Ok(gradient.clone())
        }
    }
}
