//! A graph, first node to last.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use candle_core::Tensor;

use super::composed;
use super::executor::{BatchStatistics, Forward, ForwardOptions, Hooks};
use super::ops::{activation, batch_norm, conv2d, linear, pool, resample, upsampled_conv2d};
use super::{Error, Result};
use crate::graph::{Graph, NodeId, Op, Operators, Padding};

/// Computes every node of `graph` for a batch `input`.
///
/// # Errors
/// [`Error::Node`] names the node whose operator or hook refused.
pub fn forward(
    graph: &Graph,
    input: &Tensor,
    options: ForwardOptions,
    hooks: &mut dyn Hooks,
) -> Result<Forward> {
    let last_uses = last_uses(graph)?;
    let _kept = composed::keep_uploads(&graph.placement.device);
    let mut pass = Forward {
        values: vec![None; graph.nodes.len()],
        weights: BTreeMap::new(),
        moments: BTreeMap::new(),
        enlarged: enlarged(graph),
        batch_statistics: options.batch_statistics,
        output: input.clone(),
        output_values: OnceLock::new(),
    };
    for (index, node) in graph.nodes.iter().enumerate() {
        let id = NodeId(index);
        let computed = match graph.placement.operators {
            Operators::Tuned => compute(graph, &mut pass, id, input, options, hooks),
            Operators::Composed(precision) => {
                composed::compute(graph, &mut pass, id, input, options, precision, hooks)
            }
        };
        let value = computed
            .and_then(|value| hooks.output(id, value))
            .map_err(|source| Error::Node {
                name: node.name.clone(),
                source: Box::new(source),
            })?;
        pass.output = value.clone();
        pass.values[index] = Some(value);
        if !options.keep_for_backward {
            for input in &node.inputs {
                if last_uses[input.0] == index {
                    pass.values[input.0] = None;
                }
            }
        }
    }
    Ok(pass)
}

/// Index of the last node that reads each node.
fn last_uses(graph: &Graph) -> Result<Vec<usize>> {
    if graph.nodes.is_empty() {
        return Err(Error::Empty);
    }
    let mut last_uses = vec![0; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        for &input in &node.inputs {
            if input.0 >= index {
                return Err(Error::Order {
                    node: NodeId(index),
                    input,
                });
            }
            last_uses[input.0] = index;
        }
    }
    Ok(last_uses)
}

/// For every node the factor by which convolutions that read it enlarge it: that of an upsampling
/// which they take over, as they do it for less, and 1 for all others.
fn enlarged(graph: &Graph) -> Vec<usize> {
    let takes_over = |op: &Op| matches!(op, Op::Conv2d(conv) if conv.stride == 1);
    let tuned = graph.placement.operators == Operators::Tuned;
    let mut only_convolutions = vec![tuned; graph.nodes.len()];
    for node in graph.nodes.iter().filter(|node| !takes_over(&node.op)) {
        for input in &node.inputs {
            only_convolutions[input.0] = false;
        }
    }
    if let Some(output) = only_convolutions.last_mut() {
        *output = false;
    }
    let nodes = graph.nodes.iter().zip(only_convolutions);
    nodes
        .map(|(node, only_convolutions)| match node.op {
            Op::Upsample { factor } if only_convolutions => factor,
            _ => 1,
        })
        .collect()
}

fn compute(
    graph: &Graph,
    pass: &mut Forward,
    id: NodeId,
    input: &Tensor,
    options: ForwardOptions,
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
            let output = match pass.enlargement(node) {
                1 => conv2d::forward(conv, &weight, &x)?,
                factor => upsampled_conv2d::forward(conv, &weight, factor, &x)?,
            };
            pass.weights.insert(id, weight);
            Ok(output)
        }
        Op::Linear(layer) => {
            let x = read(0)?;
            let weight = hooks.weight(id, &layer.weight)?;
            let output = linear::forward(layer, &weight, &x)?;
            pass.weights.insert(id, weight);
            Ok(output)
        }
        Op::BatchNorm(norm) => {
            let x = read(0)?;
            let batch = options.batch_statistics == BatchStatistics::Batch;
            if batch || options.record_batch_norm_inputs {
                let channels = batch_norm::channels(norm)?;
                pass.moments.insert(id, batch_norm::moments(&x, channels)?);
            }
            batch_norm::forward(norm, if batch { pass.moments.get(&id) } else { None }, &x)
        }
        Op::Relu => activation::relu(&read(0)?),
        Op::Relu6 => activation::relu6(&read(0)?),
        Op::LeakyRelu { slope } => activation::leaky_relu(&read(0)?, *slope as f32),
        Op::Tanh => activation::tanh(&read(0)?),
        Op::Add => activation::add(&read(0)?, &read(1)?),
        Op::SubsamplePad {
            stride,
            front,
            back,
        } => resample::subsample_pad(&read(0)?, *stride, *front, *back),
        Op::Upsample { .. } if pass.enlarged[id.0] > 1 => read(0),
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

pub(super) const fn windows(
    size: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
) -> pool::Windows {
    pool::Windows {
        size,
        stride,
        padding,
    }
}
