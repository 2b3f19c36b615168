//! A quantized network computed in floating point: values are those of codes, sums are `f32`.

use std::collections::BTreeMap;

use candle_core::{CpuStorage, Storage, Tensor};

use super::{
    Result, on_device,
    quantizer::{LinearQuantizer, fake_quantize_weight},
};
use crate::{
    data::Dataset,
    graph::{Graph, NodeId, Op, Operators, Placement, QuantizedGraph},
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
            graph: with_quantized_weights(
                &network.graph,
                &network.weight_bits,
                &network.weight_ranges,
            )?,
            quantizers: ranges
                .map(|range| range.as_ref().map(quantizer).transpose())
                .collect::<Result<_>>()?,
        })
    }

    /// The same network elsewhere, in single precision.
    ///
    /// # Errors
    /// If the device has no room for it.
    pub fn placed(mut self, placement: &Placement) -> Result<Self> {
        self.graph = self.graph.placed(&placement.in_single_precision())?;
        Ok(self)
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
        self.forward_with(images, options)
    }

    /// The same with other `options`.
    pub(super) fn forward_with(&self, images: &Tensor, options: ForwardOptions) -> Result<Forward> {
        Ok(executor::forward(
            &self.graph,
            images,
            options,
            &mut *self.hook()?,
        )?)
    }

    /// The [`rank`](crate::accuracy::rank) of every image's label, 0 where the network is right.
    /// `progress` is told how many images are done.
    ///
    /// # Errors
    /// If the images do not fit the network.
    pub fn evaluate(&self, data: &Dataset, progress: impl FnMut(usize)) -> Result<Vec<u16>> {
        Ok(nn::evaluate(
            &self.graph,
            data,
            &mut *self.hook()?,
            progress,
        )?)
    }

    /// The operators, with weights that take the values of codes only.
    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What quantizes the output of `node`.
    pub(super) fn quantizer(&self, node: NodeId) -> Option<&LinearQuantizer> {
        self.quantizers.get(node.0)?.as_ref()
    }

    fn hook(&self) -> Result<Box<dyn Hooks + '_>> {
        let Placement { device, operators } = &self.graph.placement;
        Ok(match operators {
            Operators::Tuned => Box::new(ActivationHook(self)),
            Operators::Composed(_) => {
                let hook = on_device::FrozenActivations::new(&self.quantizers, device)?;
                Box::new(hook)
            }
        })
    }
}

struct ActivationHook<'a>(&'a FakeQuantized);

impl Hooks for ActivationHook<'_> {
    fn output(&mut self, node: NodeId, value: Tensor) -> nn::Result<Tensor> {
        let Some(quantizer) = self.0.quantizer(node) else {
            return Ok(value);
        };
        fake_quantize_activation(&value, quantizer)
            .map_err(|error| nn::Error::Hook(Box::new(error)))
    }
}

/// `graph` with the weights of its convolutions and linear layers replaced by what their codes
/// stand for; `bits` has an entry per node, `ranges` as in [`QuantizedGraph::weight_ranges`].
///
/// # Errors
/// If a width or a range is impossible.
pub fn with_quantized_weights(
    graph: &Graph,
    bits: &[Option<u8>],
    ranges: &BTreeMap<NodeId, Tensor>,
) -> Result<Graph> {
    let fake_quantize_weight = match graph.placement.operators {
        Operators::Tuned => fake_quantize_weight,
        Operators::Composed(_) => on_device::fake_quantize_weight,
    };
    let mut graph = graph.clone();
    for (index, (node, bits)) in graph.nodes.iter_mut().zip(bits).enumerate() {
        let weight = match &mut node.op {
            Op::Conv2d(conv) => &mut conv.weight,
            Op::Linear(linear) => &mut linear.weight,
            _ => continue,
        };
        if let Some(bits) = *bits {
            *weight = fake_quantize_weight(weight, bits, ranges.get(&NodeId(index)))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dfq::golden::{Golden, assert_close, flat},
        graph::ActivationRange,
    };

    /// Network, batch and how far logits may be off at 3, 4 and 8 bits. At 8 bits a value on a
    /// rounding boundary flips a code and the flip spreads, in double precision as well.
    const CASES: [(&str, [(u8, f64); 3]); 2] = [
        ("resnet8", [(3, 1e-4), (4, 1e-4), (8, 2e-3)]),
        ("resnet20", [(3, 1e-4), (4, 1e-4), (8, 0.3)]),
    ];

    const KEEP: ForwardOptions = ForwardOptions {
        batch_statistics: BatchStatistics::Running,
        keep_for_backward: true,
        record_batch_norm_inputs: false,
    };

    fn quantized(golden: &Golden, graph: Graph, bits: u8) -> QuantizedGraph {
        let min = golden.f32(&format!("w{bits}a{bits}.x_min"));
        let max = golden.f32(&format!("w{bits}a{bits}.x_max"));
        let mut ranges =
            min.into_iter()
                .zip(max)
                .map(|(min, max)| ActivationRange { bits, min, max });
        let activations = graph.nodes.iter().map(|node| match node.op {
            Op::Relu => Some(ranges.next().expect("a range per ReLU")),
            _ => None,
        });
        let activations = activations.collect();
        assert_eq!(ranges.next(), None);
        let weight_bits = graph.nodes.iter().map(|node| match node.op {
            Op::Conv2d(_) | Op::Linear(_) => Some(bits),
            _ => None,
        });
        QuantizedGraph {
            weight_bits: weight_bits.collect(),
            weight_ranges: BTreeMap::new(),
            activations,
            graph,
        }
    }

    fn pooled_features(graph: &Graph, pass: &Forward) -> Vec<f32> {
        let pool = |node: &crate::graph::Node| matches!(node.op, Op::GlobalAveragePool);
        let pool = graph.nodes.iter().position(pool).expect("a pool");
        flat(pass.value(NodeId(pool)).expect("a kept value"))
    }

    #[test]
    fn float_networks_match_golden() {
        for (network, _) in CASES {
            let Some(golden) = Golden::open(network) else {
                continue;
            };
            let graph = golden.network(network, "net.");
            let pass = executor::forward(&graph, &golden.tensor("x"), KEEP, &mut ()).unwrap();
            for (key, got) in [
                ("fp.logits", flat(pass.output())),
                ("fp.feature", pooled_features(&graph, &pass)),
            ] {
                assert_close(key, &got, &golden.f32(key), 2e-5, 1e-5);
            }
        }
    }

    #[test]
    fn quantized_networks_match_golden() {
        for (network, widths) in CASES {
            let Some(golden) = Golden::open(network) else {
                continue;
            };
            for (bits, tolerance) in widths {
                let quantized = quantized(&golden, golden.network(network, "net."), bits);
                let network = FakeQuantized::new(&quantized).unwrap();
                let input = golden.tensor("x");
                let mut hook = network.hook().unwrap();
                let pass = executor::forward(&network.graph, &input, KEEP, &mut *hook).unwrap();
                let feature = pooled_features(&network.graph, &pass);
                let logits = flat(network.forward(&input).unwrap().output());
                for (part, got) in [("logits", logits), ("feature", feature)] {
                    let key = format!("w{bits}a{bits}.{part}");
                    assert_close(&key, &got, &golden.f32(&key), tolerance, 0.0);
                }
            }
        }
    }

    /// Compares codes behind every ReLU with the stored ones and lets the network go on from those.
    struct LayerByLayer<'a> {
        golden: &'a Golden,
        network: &'a FakeQuantized,
        layer: usize,
    }

    impl Hooks for LayerByLayer<'_> {
        fn output(&mut self, node: NodeId, value: Tensor) -> nn::Result<Tensor> {
            let Some(quantizer) = &self.network.quantizers[node.0] else {
                return Ok(value);
            };
            let key = format!("w{0}a{0}.act{1}", quantizer.bits, self.layer);
            self.layer += 1;
            let stored = self.golden.tensor(&key);
            let codes = quantizer.codes(&flat(&value));
            let expected = quantizer.codes(&flat(&stored));
            let differing = codes
                .iter()
                .zip(&expected)
                .filter(|(got, expected)| got != expected);
            let mut count = 0;
            for (got, expected) in differing {
                assert_eq!(got.abs_diff(*expected), 1, "{key}");
                count += 1;
            }
            assert!(
                count <= codes.len().div_ceil(10_000),
                "{key}: {count} codes differ"
            );
            Ok(stored)
        }
    }

    #[test]
    fn every_layer_matches_golden() {
        let Some(golden) = Golden::open("resnet8") else {
            return;
        };
        for bits in [3, 4, 8] {
            let quantized = quantized(&golden, golden.network("resnet8", "net."), bits);
            let network = FakeQuantized::new(&quantized).unwrap();
            let mut hook = LayerByLayer {
                golden: &golden,
                network: &network,
                layer: 0,
            };
            let input = golden.tensor("x");
            let pass = executor::forward(&network.graph, &input, KEEP, &mut hook).unwrap();
            assert_eq!(hook.layer, 7);
            let key = format!("w{bits}a{bits}.logits");
            assert_close(&key, &flat(pass.output()), &golden.f32(&key), 2e-5, 1e-5);
        }
    }
}
