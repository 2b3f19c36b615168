//! A quantized network computed in floating point: values are those of codes, sums are `f32`.

use candle_core::{CpuStorage, Storage, Tensor};

use super::{
    Result,
    quantizer::{LinearQuantizer, fake_quantize_weight},
};
use crate::{
    data::Dataset,
    graph::{Graph, NodeId, Op, QuantizedGraph},
    nn::{
        self,
        executor::{self, BatchStatistics, Forward, ForwardOptions, Hooks},
    },
};

/// A quantized network computed in floating point.
#[derive(Debug, Clone)]
pub struct FakeQuantized {
    graph: Graph,
    quantizers: Vec<Option<LinearQuantizer>>,
}

impl FakeQuantized {
    /// Quantizes the weights of `network` once.
    ///
    /// # Errors
    /// If a width or a range is impossible.
    pub fn new(network: &QuantizedGraph) -> Result<Self> {
        let quantizer = |range| LinearQuantizer::new(range);
        let ranges = network.activations.iter();
        Ok(Self {
            graph: with_quantized_weights(&network.graph, &network.weight_bits)?,
            quantizers: ranges
                .map(|range| range.as_ref().map(quantizer).transpose())
                .collect::<Result<_>>()?,
        })
    }

    /// Runs the network on `images`, `[batch, channels, height, width]`, normalised.
    ///
    /// # Errors
    /// If the images do not fit the network.
    pub fn forward(&self, images: &Tensor) -> Result<Forward> {
        let options = ForwardOptions {
            batch_statistics: BatchStatistics::Running,
            keep_for_backward: false,
            record_batch_norm_inputs: false,
        };
        Ok(executor::forward(
            &self.graph,
            images,
            options,
            &mut self.hook(),
        )?)
    }

    /// Class with the largest logit of every image of `data`. `progress` is told how many images
    /// are done.
    ///
    /// # Errors
    /// If the images do not fit the network.
    pub fn classify(&self, data: &Dataset, progress: impl FnMut(usize)) -> Result<Vec<u16>> {
        Ok(nn::evaluate(&self.graph, data, &mut self.hook(), progress)?)
    }

    fn hook(&self) -> ActivationHook<'_> {
        ActivationHook(&self.quantizers)
    }
}

struct ActivationHook<'a>(&'a [Option<LinearQuantizer>]);

impl Hooks for ActivationHook<'_> {
    fn output(&mut self, node: NodeId, value: Tensor) -> nn::Result<Tensor> {
        let Some(quantizer) = &self.0[node.0] else {
            return Ok(value);
        };
        fake_quantize_activation(&value, quantizer)
            .map_err(|error| nn::Error::Hook(Box::new(error)))
    }
}

/// `graph` with the weights of its convolutions and linear layers replaced by what their codes
/// stand for; `bits` has an entry per node.
///
/// # Errors
/// If a width is impossible.
pub fn with_quantized_weights(graph: &Graph, bits: &[Option<u8>]) -> Result<Graph> {
    let mut graph = graph.clone();
    for (node, bits) in graph.nodes.iter_mut().zip(bits) {
        let weight = match &mut node.op {
            Op::Conv2d(conv) => &mut conv.weight,
            Op::Linear(linear) => &mut linear.weight,
            _ => continue,
        };
        if let Some(bits) = *bits {
            *weight = fake_quantize_weight(weight, bits)?;
        }
    }
    Ok(graph)
}

/// What the codes of `value` stand for.
///
/// # Errors
/// If `value` is not of type `f32`.
pub fn fake_quantize_activation(value: &Tensor, quantizer: &LinearQuantizer) -> Result<Tensor> {
    let quantized = with_values(value, |values| quantizer.fake_quantized(values))?;
    Ok(Tensor::from_vec(quantized, value.shape(), value.device())?)
}

/// Hands the values of a contiguous `f32` tensor in main memory to `read` without a copy, those of
/// any other `f32` tensor with one.
pub(super) fn with_values<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    if let (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) =
        (&*storage, layout.contiguous_offsets())
    {
        return Ok(read(&values[start..end]));
    }
    drop(storage);
    Ok(read(&tensor.flatten_all()?.to_vec1::<f32>()?))
}
