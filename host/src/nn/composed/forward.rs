//! One node, forwards.

use candle_core::Tensor;

use super::{batch_norm, convolution, elementwise, linear, pool, resample};
use crate::graph::{Graph, NodeId, Op, Padding, Precision};
use crate::nn::executor::{BatchStatistics, Forward, ForwardOptions, Hooks};
use crate::nn::forward::windows;
use crate::nn::{Error, Result};

/// Value of node `id`, from those before it.
pub(in crate::nn) fn compute(
    graph: &Graph,
    pass: &mut Forward,
    id: NodeId,
    input: &Tensor,
    options: ForwardOptions,
    precision: Precision,
    hooks: &mut dyn Hooks,
) -> Result<Tensor> {
    let node = &graph.nodes[id.0];
    let read = |position: usize| {
        let source = node.inputs.get(position).copied().unwrap_or(id);
        let value = pass.values[source.0].clone();
        value.ok_or(Error::Order {
            node: id,
            input: source,
        })
    };
    match &node.op {
        Op::Input => Ok(input.clone()),
        Op::Conv2d(conv) => {
            let x = read(0)?;
            let weight = hooks.weight(id, &conv.weight)?;
            let output = convolution::forward(conv, &weight, &x, precision)?;
            pass.weights.insert(id, weight);
            Ok(output)
        }
        Op::Linear(layer) => {
            let x = read(0)?;
            let weight = hooks.weight(id, &layer.weight)?;
            let output = linear::forward(layer, &weight, &x, precision)?;
            pass.weights.insert(id, weight);
            Ok(output)
        }
        Op::BatchNorm(norm) => {
            let x = read(0)?;
            let batch = options.batch_statistics == BatchStatistics::Batch;
            if batch || options.record_batch_norm_inputs {
                pass.moments.insert(id, batch_norm::moments(norm, &x)?);
            }
            batch_norm::forward(norm, pass.moments.get(&id).filter(|_| batch), &x)
        }
        Op::Relu => Ok(read(0)?.relu()?),
        Op::Relu6 => elementwise::relu6(&read(0)?),
        Op::LeakyRelu { slope } => elementwise::leaky_relu(&read(0)?, *slope),
        Op::Tanh => Ok(read(0)?.tanh()?),
        Op::Add => elementwise::add(&read(0)?, &read(1)?),
        Op::SubsamplePad {
            stride,
            front,
            back,
        } => resample::subsample_pad(&read(0)?, *stride, *front, *back),
        Op::Upsample { factor } => resample::upsample(&read(0)?, *factor),
        Op::MaxPool {
            window,
            stride,
            padding,
        } => pool::max(&read(0)?, &windows(*window, *stride, *padding)),
        Op::AveragePool { window, stride } => {
            pool::average(&read(0)?, &windows(*window, *stride, Padding::default()))
        }
        Op::GlobalAveragePool => pool::global_average(&read(0)?),
        Op::Flatten => Ok(read(0)?.flatten_from(1)?),
        Op::Reshape {
            shape: [channels, height, width],
        } => {
            let x = read(0)?;
            Ok(x.reshape((x.dim(0)?, *channels, *height, *width))?)
        }
    }
}
