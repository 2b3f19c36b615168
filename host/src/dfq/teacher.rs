//! The full-precision network, frozen.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{
    Error, Result,
    methods::NetworkGradient,
    on_device::{self, LayerMoments},
    statistics::{LayerStatistics, batch_norm_loss},
};
use crate::{
    graph::{Graph, NodeId, Op, Operators, Placement},
    nn::executor::{
        self, BatchStatistics, ChannelGradient, ExtraGradients, Forward, ForwardOptions, Wanted,
    },
};

/// The full-precision network, frozen, with the statistics of its training data at hand.
#[derive(Debug, Clone)]
pub struct Teacher {
    graph: Graph,
    /// Mean and variance of every BatchNorm node, in the order of the nodes.
    running: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Teacher {
    /// # Errors
    /// [`Error::NoStatistics`] if the network has no BatchNorm to learn the data from.
    pub fn new(graph: Graph) -> Result<Self> {
        let teacher = Self::with_any_statistics(graph)?;
        if teacher.running.is_empty() {
            return Err(Error::NoStatistics(teacher.graph.name));
        }
        Ok(teacher)
    }

    /// A network that may be without BatchNorm; the loss on its statistics is then 0.
    ///
    /// # Errors
    /// If a BatchNorm's statistics are no vectors.
    pub fn with_any_statistics(graph: Graph) -> Result<Self> {
        let mut running = Vec::new();
        for node in &graph.nodes {
            if let Op::BatchNorm(norm) = &node.op {
                running.push((norm.running_mean.to_vec1()?, norm.running_var.to_vec1()?));
            }
        }
        Ok(Self { graph, running })
    }

    /// The same network elsewhere.
    ///
    /// # Errors
    /// If the device has no room for it.
    pub fn placed(mut self, placement: &Placement) -> Result<Self> {
        self.graph = self.graph.placed(placement)?;
        Ok(self)
    }

    /// The network.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Logits of `images`, with the statistics of all BatchNorm inputs.
    ///
    /// # Errors
    /// If the images do not fit the network.
    pub fn forward(&self, images: &Tensor) -> Result<Forward> {
        let options = ForwardOptions {
            batch_statistics: BatchStatistics::Running,
            keep_for_backward: true,
            record_batch_norm_inputs: true,
        };
        Ok(executor::forward(&self.graph, images, options, &mut ())?)
    }

    /// Distance of the statistics of `forward` from those of the training data, and the gradient of
    /// `weight` times that.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn statistics_loss(
        &self,
        forward: &Forward,
        weight: f64,
    ) -> Result<(f64, BTreeMap<NodeId, ChannelGradient>)> {
        if self.graph.placement.operators != Operators::Tuned {
            return self.statistics_loss_on_device(forward, weight);
        }
        let inputs = forward.batch_norm_inputs()?;
        let layers: Vec<LayerStatistics<'_>> = inputs
            .iter()
            .zip(&self.running)
            .map(|(input, (running_mean, running_var))| LayerStatistics {
                mean: &input.mean,
                var: &input.var,
                running_mean,
                running_var,
                values_per_channel: self.values_per_channel(forward, input.node),
                unit: self.unit(running_var),
            })
            .collect();
        let (value, gradients) = batch_norm_loss(&layers, weight)?;
        let nodes = inputs.iter().map(|input| input.node);
        Ok((value, nodes.zip(gradients).collect()))
    }

    fn statistics_loss_on_device(
        &self,
        forward: &Forward,
        weight: f64,
    ) -> Result<(f64, BTreeMap<NodeId, ChannelGradient>)> {
        let moments = forward.batch_moments();
        if moments.is_empty() {
            return Ok((0.0, BTreeMap::new()));
        }
        let mut running = self.running.iter();
        let layer = |(&node, batch): (&NodeId, _)| match &self.graph.nodes[node.0].op {
            Op::BatchNorm(norm) => Some(LayerMoments {
                batch,
                norm,
                values_per_channel: self.values_per_channel(forward, node),
                unit: self.unit(&running.next()?.1),
            }),
            _ => None,
        };
        let layers = moments.iter().filter_map(layer).collect::<Vec<_>>();
        let (value, gradients) = on_device::batch_norm_loss(&layers, weight)?;
        let value = f64::from(value.to_scalar::<f32>()?);
        Ok((value, moments.keys().copied().zip(gradients).collect()))
    }

    /// Variance that counts as 1 in the loss on a layer's statistics: its own, of the mean channel,
    /// if the network does not read normalised images.
    fn unit(&self, running_var: &[f32]) -> f64 {
        if self.graph.normalization.is_standard() {
            return 1.0;
        }
        let sum: f64 = running_var.iter().copied().map(f64::from).sum();
        let mean = sum / running_var.len() as f64;
        if mean > 0.0 { mean } else { 1.0 }
    }

    /// Values per channel in what a BatchNorm node read; 0 if `forward` did not keep it.
    fn values_per_channel(&self, forward: &Forward, node: NodeId) -> usize {
        let Op::BatchNorm(norm) = &self.graph.nodes[node.0].op else {
            return 0;
        };
        let read = self.graph.nodes[node.0].inputs.first();
        let value = read.and_then(|&node| forward.value(node));
        value.map_or(0, |value| {
            value.elem_count() / norm.running_mean.elem_count()
        })
    }

    /// Gradient of the images for `gradient` and that of the inputs of BatchNorm nodes.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn image_gradient(
        &self,
        forward: &Forward,
        gradient: &NetworkGradient,
        batch_norm_inputs: BTreeMap<NodeId, ChannelGradient>,
    ) -> Result<Tensor> {
        let wanted = Wanted {
            input: true,
            parameters: false,
        };
        let extra = ExtraGradients {
            batch_norm_inputs,
            outputs: gradient.nodes.clone(),
        };
        let logits = gradient.of_output(forward)?;
        let gradients = executor::backward(&self.graph, forward, &logits, wanted, &extra)?;
        gradients.input.ok_or(Error::NoGradient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::Normalization,
        zoo::{self, RandomParameters},
    };

    #[test]
    fn only_raw_inputs_have_statistics_in_units_of_their_layer() {
        let network = zoo::network("mlperf_tiny_resnet8").unwrap();
        for (normalization, unit) in [
            ("imagenet".parse().unwrap(), 1.0),
            (Normalization::identity(3), 2500.0),
        ] {
            let parameters = &mut RandomParameters::new(1);
            let graph = network.build(parameters, 10, normalization).unwrap();
            let teacher = Teacher::new(graph).unwrap();
            assert_eq!(teacher.unit(&[4000.0, 1000.0]), unit);
            assert_eq!(teacher.unit(&[0.0]), 1.0);
        }
    }
}
