//! Removes channels that are 0 for every input.
//!
//! A channel whose largest possible value still rounds to 0 adds nothing to any sum, also at the
//! borders of an image, so that leaving it out changes no integer anywhere: fewer weights, fewer
//! multiplications and less memory for the same logits. Pruned networks and those with narrow
//! ranges have many.
//!
//! What computes a channel and what reads it must agree, so nodes that pass channels on one by one
//! (BatchNorm, activations, pools, depthwise convolutions) form a *group*, and a channel is removed
//! from a whole group or not at all. Channels are left in multiples of [`CHANNEL_STEP`].

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::Error;
use crate::dfq::quantizer::{LinearQuantizer, fake_quantize_weight, range};
use crate::graph::{
    BatchNorm, Node, NodeId, Normalization, Op, QuantizedGraph, Shape, infer_shapes,
};

/// Kernels compute that many channels at a time: fewer are not faster.
const CHANNEL_STEP: usize = 4;
/// A code below one half by this much rounds to 0 whatever form its requantizer takes.
const MARGIN: f64 = 1e-3;

/// The same network without the channels that are always 0. Unchanged if there are none, or its
/// shapes do not fit together.
pub(super) fn remove(network: &QuantizedGraph) -> Result<QuantizedGraph, Error> {
    let Ok(shapes) = infer_shapes(&network.graph) else {
        return Ok(network.clone());
    };
    let analysis = Analysis::new(network, &shapes)?;
    let mut reduced = network.clone();
    for (root, kept) in analysis.kept_channels() {
        let removed = analysis.channels(NodeId(root)) - kept.len();
        let name = &network.graph.nodes[root].name;
        tracing::info!(layer = name, removed, "channels that are always 0 left out");
        for index in 0..network.graph.nodes.len() {
            analysis.shrink(&mut reduced, NodeId(index), root, &kept)?;
        }
    }
    Ok(reduced)
}

/// Least and greatest value of a channel.
type Interval = [f64; 2];

struct Analysis<'a> {
    network: &'a QuantizedGraph,
    shapes: &'a [Shape],
    /// For every node the first node of its group.
    groups: Vec<usize>,
    /// Groups whose channels cannot be told apart or must all stay.
    fixed: Vec<bool>,
    /// Per node and channel the values that are possible; empty where that is not known.
    intervals: Vec<Vec<Interval>>,
}

impl<'a> Analysis<'a> {
    fn new(network: &'a QuantizedGraph, shapes: &'a [Shape]) -> Result<Self, Error> {
        let count = network.graph.nodes.len();
        let mut analysis = Self {
            network,
            shapes,
            groups: (0..count).collect(),
            fixed: vec![false; count],
            intervals: vec![Vec::new(); count],
        };
        for index in 0..count {
            analysis.visit(index)?;
        }
        Ok(analysis)
    }

    fn node(&self, id: usize) -> &'a Node {
        &self.network.graph.nodes[id]
    }

    fn channels(&self, id: NodeId) -> usize {
        match self.shapes[id.0] {
            Shape::Image([channels, ..]) => channels,
            Shape::Flat(features) => features,
        }
    }

    fn visit(&mut self, index: usize) -> Result<(), Error> {
        let node = self.node(index);
        let input = node.inputs.first().map(|input| input.0);
        match (&node.op, input) {
            (Op::Conv2d(conv), Some(input)) if conv.groups == 1 => {
                self.check_reader(index, input, &conv.weight);
                self.intervals[index] = self.products(index, input, &conv.weight, 1)?;
            }
            (Op::Conv2d(conv), Some(input)) if is_depthwise(conv.groups, &conv.weight) => {
                self.join(index, input);
                self.intervals[index] = self.products(index, input, &conv.weight, conv.groups)?;
            }
            (Op::Linear(linear), Some(input)) => {
                self.check_reader(index, input, &linear.weight);
                self.intervals[index] = self.products(index, input, &linear.weight, 1)?;
            }
            (Op::BatchNorm(norm), Some(input)) => {
                self.join(index, input);
                self.intervals[index] = normalized(&self.intervals[input], norm, &node.name)?;
            }
            (Op::Relu | Op::Relu6, Some(input)) => {
                self.join(index, input);
                let rectified = self.intervals[input].iter();
                self.intervals[index] =
                    rectified.map(|ends| ends.map(|end| end.max(0.0))).collect();
            }
            (Op::MaxPool { .. } | Op::AveragePool { .. } | Op::GlobalAveragePool, Some(input)) => {
                self.join(index, input);
                self.intervals[index] = self.intervals[input].clone();
            }
            (Op::Flatten, Some(input))
                if self.channels(NodeId(index)) == self.channels(NodeId(input)) =>
            {
                self.join(index, input);
                self.intervals[index] = self.intervals[input].clone();
            }
            (Op::Input, _) => {
                self.fix(index);
                self.intervals[index] = pixels(&self.network.graph.normalization);
            }
            _ => self.fix(index),
        }
        if index + 1 == self.network.graph.nodes.len() {
            let group = self.groups[index];
            self.fixed[group] = true;
        }
        self.quantize(index)
    }

    /// The node and all that it reads keep their channels.
    fn fix(&mut self, index: usize) {
        let group = self.groups[index];
        self.fixed[group] = true;
        for input in &self.node(index).inputs {
            let group = self.groups[input.0];
            self.fixed[group] = true;
        }
    }

    /// Nodes are visited in order, so that the group of an input has its first node for good.
    fn join(&mut self, index: usize, input: usize) {
        self.groups[index] = self.groups[input];
    }

    /// A layer can do without some taps only if that leaves the codes of the others as they are,
    /// which takes a range of its own per row, with 0 in it.
    fn check_reader(&mut self, index: usize, input: usize, weight: &Tensor) {
        let has_ranges = self.network.weight_ranges.contains_key(&NodeId(index));
        let is_safe = has_ranges
            || rows(weight).is_some_and(|rows| {
                let ends = rows.iter().map(|row| range(row));
                ends.into_iter().all(|(low, high)| low < 0.0 && high > 0.0)
            });
        if !is_safe {
            let group = self.groups[input];
            self.fixed[group] = true;
        }
    }

    /// Sums of products of the quantized weights with what the inputs can be. Taps outside the
    /// image are 0.
    fn products(
        &self,
        index: usize,
        input: usize,
        weight: &Tensor,
        groups: usize,
    ) -> Result<Vec<Interval>, Error> {
        let inputs = &self.intervals[input];
        let Some(bits) = self.network.weight_bits[index] else {
            return Ok(Vec::new());
        };
        let name = &self.node(index).name;
        let ranges = self.network.weight_ranges.get(&NodeId(index));
        let quantized =
            fake_quantize_weight(weight, bits, ranges).map_err(|source| Error::Quantizer {
                node: name.clone(),
                source,
            })?;
        let bias = match &self.node(index).op {
            Op::Conv2d(conv) => conv.bias.as_ref(),
            Op::Linear(linear) => linear.bias.as_ref(),
            _ => None,
        };
        let rows = rows(&quantized).unwrap_or_default();
        let bias = vector(bias, rows.len(), 0.0, name)?;
        let outputs = rows
            .iter()
            .zip(bias)
            .enumerate()
            .map(|(output, (row, bias))| {
                let first = output * groups.min(rows.len()) / rows.len().max(1);
                let area = row.len() / (inputs.len() / groups).max(1);
                let inputs = row.chunks(area.max(1)).enumerate();
                inputs.fold([bias; 2], |sum, (channel, taps)| {
                    let ends = self.intervals[input].get(first + channel);
                    let [low, high] = ends.copied().unwrap_or([f64::NEG_INFINITY, f64::INFINITY]);
                    taps.iter().fold(sum, |sum, &tap| {
                        let products = [low, high, 0.0].map(|end| product(tap.into(), end));
                        let least = products.into_iter().fold(f64::INFINITY, f64::min);
                        let most = products.into_iter().fold(f64::NEG_INFINITY, f64::max);
                        [sum[0] + least, sum[1] + most]
                    })
                })
            });
        Ok(outputs.collect())
    }

    /// What a quantizer behind the node lets through.
    fn quantize(&mut self, index: usize) -> Result<(), Error> {
        let Some(activation) = self.network.activations[index] else {
            return Ok(());
        };
        let quantizer = LinearQuantizer::new(&activation).map_err(|source| Error::Quantizer {
            node: self.node(index).name.clone(),
            source,
        })?;
        let (scale, zero_point) = (f64::from(quantizer.scale), f64::from(quantizer.zero_point));
        let highest = zero_point + f64::from((1u32 << activation.bits) - 1);
        let rectifies = matches!(self.node(index).op, Op::Relu | Op::Relu6);
        let lowest = if rectifies {
            zero_point.max(0.0)
        } else {
            zero_point
        };
        let channels = self.channels(NodeId(index));
        let known = std::mem::take(&mut self.intervals[index]);
        let ends = |channel| {
            known
                .get(channel)
                .copied()
                .unwrap_or([f64::NEG_INFINITY, f64::INFINITY])
        };
        self.intervals[index] = (0..channels)
            .map(|channel| {
                let [low, high] = ends(channel).map(|end| end * scale);
                let [low, high] = [low - 0.5 - MARGIN, high + 0.5 + MARGIN];
                // The values between which the code can only round to a whole one.
                [low.ceil(), high.floor()]
                    .map(|code| code.clamp(lowest, highest.max(lowest)) / scale)
            })
            .collect();
        Ok(())
    }

    /// Per group with channels to remove its first node and the channels that stay.
    fn kept_channels(&self) -> BTreeMap<usize, Vec<usize>> {
        let mut kept = BTreeMap::new();
        for root in 0..self.groups.len() {
            if self.groups[root] != root || self.fixed[root] {
                continue;
            }
            let channels = self.channels(NodeId(root));
            let is_dead = (0..channels).map(|channel| self.is_dead(root, channel));
            let is_dead = is_dead.collect::<Vec<_>>();
            let alive = is_dead.iter().filter(|dead| !**dead).count();
            let mut spare = alive.next_multiple_of(CHANNEL_STEP).max(CHANNEL_STEP) - alive;
            let stays = |&channel: &usize| {
                let fills = is_dead[channel] && spare > 0;
                spare -= usize::from(fills);
                fills || !is_dead[channel]
            };
            let stay = (0..channels).filter(stays).collect::<Vec<_>>();
            if stay.len() < channels {
                kept.insert(root, stay);
            }
        }
        kept
    }

    /// Whether the channel is 0 behind every quantizer of the group, of which there is one.
    fn is_dead(&self, root: usize, channel: usize) -> bool {
        let members = (root..self.groups.len()).filter(|&index| self.groups[index] == root);
        let mut quantized = members.filter(|&index| self.network.activations[index].is_some());
        let is_zero = |index: usize| self.intervals[index].get(channel) == Some(&[0.0; 2]);
        let first = quantized.next();
        first.is_some_and(is_zero) && quantized.all(is_zero)
    }

    /// Takes the channels of group `root` that are not `kept` out of a node's parameters.
    fn shrink(
        &self,
        reduced: &mut QuantizedGraph,
        id: NodeId,
        root: usize,
        kept: &[usize],
    ) -> Result<(), Error> {
        let index = id.0;
        let writes = self.groups[index] == root;
        let reads = !writes
            && self
                .node(index)
                .inputs
                .first()
                .is_some_and(|input| self.groups[input.0] == root);
        let name = &self.node(index).name;
        let select = |tensor: &Tensor, dim: usize| select(tensor, dim, kept, name);
        let ranges = self.ranges(index, reduced, reads, name)?;
        match &mut reduced.graph.nodes[index].op {
            Op::Conv2d(conv) if writes => {
                if conv.groups > 1 {
                    conv.groups = kept.len();
                }
                conv.weight = select(&conv.weight, 0)?;
                conv.bias = conv.bias.as_ref().map(|bias| select(bias, 0)).transpose()?;
            }
            Op::Conv2d(conv) if reads => conv.weight = select(&conv.weight, 1)?,
            Op::Linear(linear) if writes => {
                linear.weight = select(&linear.weight, 0)?;
                linear.bias = linear
                    .bias
                    .as_ref()
                    .map(|bias| select(bias, 0))
                    .transpose()?;
            }
            Op::Linear(linear) if reads => linear.weight = select(&linear.weight, 1)?,
            Op::BatchNorm(norm) if writes => {
                norm.weight = norm
                    .weight
                    .as_ref()
                    .map(|gamma| select(gamma, 0))
                    .transpose()?;
                norm.bias = norm.bias.as_ref().map(|beta| select(beta, 0)).transpose()?;
                norm.running_mean = select(&norm.running_mean, 0)?;
                norm.running_var = select(&norm.running_var, 0)?;
            }
            _ => return Ok(()),
        }
        if let Some(ranges) = ranges {
            let ranges = if writes { select(&ranges, 0)? } else { ranges };
            reduced.weight_ranges.insert(id, ranges);
        }
        Ok(())
    }

    /// Ranges of a layer's weights: those that it has, or if it is about to lose taps, those of its
    /// values so far.
    fn ranges(
        &self,
        index: usize,
        reduced: &QuantizedGraph,
        loses_taps: bool,
        name: &str,
    ) -> Result<Option<Tensor>, Error> {
        let weight = match &reduced.graph.nodes[index].op {
            Op::Conv2d(conv) => &conv.weight,
            Op::Linear(linear) => &linear.weight,
            _ => return Ok(None),
        };
        let given = reduced.weight_ranges.get(&NodeId(index));
        if given.is_some() || !loses_taps {
            return Ok(given.cloned());
        }
        let rows = rows(weight).unwrap_or_default();
        let ends = rows.iter().flat_map(|row| <[f32; 2]>::from(range(row)));
        let ends = ends.collect::<Vec<_>>();
        let tensor = Tensor::from_vec(ends, (rows.len(), 2), &Device::Cpu);
        tensor
            .map(Some)
            .map_err(|source| tensor_error(name, source))
    }
}

/// What normalised pixels can be, with room for half a step of the coarsest input table.
fn pixels(normalization: &Normalization) -> Vec<Interval> {
    let channels = normalization.mean.iter().zip(&normalization.std);
    let ends = channels.map(|(mean, std)| [-mean / std, (1.0 - mean) / std]);
    let ends = ends.collect::<Vec<_>>();
    let largest = ends
        .iter()
        .flatten()
        .fold(0f64, |largest, end| largest.max(end.abs()));
    let widen = |[low, high]: Interval| [low - largest / 2.0, high + largest / 2.0];
    ends.into_iter().map(widen).collect()
}

/// 0 times anything is 0.
fn product(factor: f64, value: f64) -> f64 {
    if factor == 0.0 { 0.0 } else { factor * value }
}

fn is_depthwise(groups: usize, weight: &Tensor) -> bool {
    weight.dims().first() == Some(&groups) && weight.dims().get(1) == Some(&1)
}

/// The values of every output channel.
fn rows(weight: &Tensor) -> Option<Vec<Vec<f32>>> {
    weight.flatten_from(1).ok()?.to_vec2::<f32>().ok()
}

fn normalized(inputs: &[Interval], norm: &BatchNorm, name: &str) -> Result<Vec<Interval>, Error> {
    let count = norm.running_mean.elem_count();
    let gamma = vector(norm.weight.as_ref(), count, 1.0, name)?;
    let beta = vector(norm.bias.as_ref(), count, 0.0, name)?;
    let mean = vector(Some(&norm.running_mean), count, 0.0, name)?;
    let variance = vector(Some(&norm.running_var), count, 1.0, name)?;
    let outputs = inputs.iter().zip(0..count).map(|(ends, channel)| {
        let gain = gamma[channel] / (variance[channel] + norm.eps).sqrt();
        let [a, b] = ends.map(|end| product(gain, end - mean[channel]) + beta[channel]);
        [a.min(b), a.max(b)]
    });
    Ok(outputs.collect())
}

fn vector(
    tensor: Option<&Tensor>,
    count: usize,
    default: f64,
    name: &str,
) -> Result<Vec<f64>, Error> {
    match tensor {
        None => Ok(vec![default; count]),
        Some(tensor) => tensor
            .to_vec1::<f32>()
            .map(|values| values.into_iter().map(f64::from).collect())
            .map_err(|source| tensor_error(name, source)),
    }
}

fn select(tensor: &Tensor, dim: usize, kept: &[usize], name: &str) -> Result<Tensor, Error> {
    let indices = kept
        .iter()
        .map(|&channel| channel as u32)
        .collect::<Vec<_>>();
    let selected = Tensor::new(indices, tensor.device())
        .and_then(|indices| tensor.contiguous()?.index_select(&indices, dim));
    selected.map_err(|source| tensor_error(name, source))
}

fn tensor_error(name: &str, source: candle_core::Error) -> Error {
    Error::Tensor {
        node: name.to_owned(),
        source,
    }
}
