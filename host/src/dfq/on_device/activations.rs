//! Quantizers behind activations: with frozen ranges, and with ranges that follow the batches.

use candle_core::{DType, Device, Tensor};

use super::quantizer::TensorQuantizer;
use crate::{
    dfq::{
        Result,
        observer::RangeObserver,
        quantizer::{LinearQuantizer, half_codes},
    },
    graph::{ActivationRange, NodeId},
    nn::{self, executor::Hooks},
};

/// Quantizers with frozen ranges, one entry per node.
pub(in crate::dfq) struct FrozenActivations(Vec<Option<TensorQuantizer>>);

impl FrozenActivations {
    /// All scales and zero points go to `device` at once.
    pub(in crate::dfq) fn new(
        quantizers: &[Option<LinearQuantizer>],
        device: &Device,
    ) -> Result<Self> {
        let used = quantizers.iter().flatten();
        let numbers = used.flat_map(|quantizer| {
            let zero_point = quantizer.zero_point + half_codes(quantizer.bits);
            [quantizer.scale, zero_point]
        });
        let numbers = numbers.collect::<Vec<_>>();
        let count = numbers.len();
        let table = Tensor::from_vec(numbers, count, device)?;
        let mut position = 0;
        let mut next = || {
            position += 1;
            table.narrow(0, position - 1, 1)
        };
        let quantizers = quantizers.iter().map(|quantizer| {
            let on_device = |quantizer: &LinearQuantizer| -> Result<_> {
                Ok(TensorQuantizer::new(quantizer.bits, next()?, next()?))
            };
            quantizer.as_ref().map(on_device).transpose()
        });
        Ok(Self(quantizers.collect::<Result<_>>()?))
    }
}

impl Hooks for FrozenActivations {
    fn output(&mut self, node: NodeId, value: Tensor) -> nn::Result<Tensor> {
        let Some(Some(quantizer)) = self.0.get(node.0) else {
            return Ok(value);
        };
        quantizer.fake_quantize(&value).map_err(hook_error)
    }
}

/// Quantizers whose ranges take in every tensor before they quantize it. The observers have the
/// ranges again after [`FollowedActivations::finish`].
pub(in crate::dfq) struct FollowedActivations<'a> {
    /// For each node.
    bits: &'a [u8],
    observers: &'a mut [Option<RangeObserver>],
    /// Ends of the ranges before this pass, two numbers per observer.
    ends: Tensor,
    /// The same after this pass, by node.
    followed: Vec<(NodeId, Tensor)>,
}

impl<'a> FollowedActivations<'a> {
    pub(in crate::dfq) fn new(
        bits: &'a [u8],
        observers: &'a mut [Option<RangeObserver>],
        device: &Device,
    ) -> Result<Self> {
        let ends = observers.iter().flat_map(|observer| match observer {
            Some(observer) => observer.ends(),
            None => [0.0; 2],
        });
        let ends = ends.collect::<Vec<_>>();
        Ok(Self {
            bits,
            ends: Tensor::from_vec(ends, (observers.len(), 2), device)?,
            observers,
            followed: Vec::new(),
        })
    }

    fn quantize(&mut self, node: NodeId, value: &Tensor) -> Result<Option<Tensor>> {
        let Some(observer) = &mut self.observers[node.0] else {
            return Ok(None);
        };
        let update = observer.advance();
        let before = self.ends.narrow(0, node.0, 1)?.squeeze(0)?;
        let batch = ends(value)?.to_dtype(DType::F64)?;
        let after = ((before * update.past)? + (batch * update.batch)?)?;
        let range = (&after * update.range)?.to_dtype(DType::F32)?;
        self.followed.push((node, after));
        let (min, max) = (range.narrow(0, 0, 1)?, range.narrow(0, 1, 1)?);
        let quantizer = TensorQuantizer::of_range(self.bits[node.0], &min, &max)?;
        Ok(Some(quantizer.fake_quantize(value)?))
    }

    /// Brings the ranges back, in one copy.
    ///
    /// # Errors
    /// If a range has become none, or the copy fails.
    pub(in crate::dfq) fn finish(self) -> Result<()> {
        if self.followed.is_empty() {
            return Ok(());
        }
        let ends = self.followed.iter().map(|(_, ends)| ends);
        let ends = Tensor::stack(&ends.collect::<Vec<_>>(), 0)?.to_vec2::<f64>()?;
        for ((node, _), ends) in self.followed.iter().zip(ends) {
            if let Some(observer) = &mut self.observers[node.0] {
                observer.set_ends([ends[0], ends[1]]);
                if let Some((min, max)) = observer.range() {
                    LinearQuantizer::new(&ActivationRange {
                        bits: self.bits[node.0],
                        min: min as f32,
                        max: max as f32,
                    })?;
                }
            }
        }
        Ok(())
    }
}

impl Hooks for FollowedActivations<'_> {
    fn output(&mut self, node: NodeId, value: Tensor) -> nn::Result<Tensor> {
        let quantized = self.quantize(node, &value).map_err(hook_error)?;
        Ok(quantized.unwrap_or(value))
    }
}

/// Least and greatest value, `[2]`. Planes come first: one block of threads for a whole tensor
/// would leave most of a large device idle.
fn ends(value: &Tensor) -> Result<Tensor> {
    let planes = match value.rank() {
        0..=2 => value.clone(),
        _ => value.flatten_from(2)?.flatten_to(1)?,
    };
    let least = planes.min(1)?.min_keepdim(0)?;
    let greatest = planes.max(1)?.max_keepdim(0)?;
    Ok(Tensor::cat(&[least, greatest], 0)?)
}

fn hook_error(error: crate::dfq::Error) -> nn::Error {
    nn::Error::Hook(Box::new(error))
}
