//! One pass: the moments of a layer become its new parameters.

use crate::format::{Kind, Model};
use crate::kernels::Affines;

use super::{Layer, Moments, PARAMETER_BYTES, PlanLayer, Weights, correct};

/// Writes the layer of a payload with the parameters of `layer` that `moments`, one per channel,
/// lead to; what the factory gave it is read from `model`. Returns the number of
/// channels that were not followed all the way; `None` if `into` has no room or `layer` is not one
/// of `model`.
#[must_use]
pub fn finish_pass(
    model: &Model<'_>,
    layer: &PlanLayer<'_>,
    moments: &[Moments],
    weights: &Weights,
    into: &mut [u8],
) -> Option<u32> {
    let operation = model.operations().nth(layer.operation.into())?;
    let Kind::Conv2d { requantize, .. } = operation.kind else {
        return None;
    };
    let factory = Affines {
        multipliers: model.blob(requantize.multipliers),
        biases: model.blob(requantize.biases),
        shifts: model.blob(requantize.shifts),
        corrections: &[],
    };
    let (head, parameters) = into
        .get_mut(..layer.payload_bytes())?
        .split_first_chunk_mut()?;
    *head = Layer::head(layer.operation, layer.channels);
    let (places, _) = parameters.as_chunks_mut::<PARAMETER_BYTES>();
    let mut clamped = 0;
    for (channel, (place, moments)) in places.iter_mut().zip(moments).enumerate() {
        let reference = layer.reference(channel)?;
        let found = correct(&factory.get(channel), &reference, moments, weights);
        *place = Layer::channel(found.affine.multiplier, found.affine.bias);
        clamped += u32::from(found.clamped);
    }
    Some(clamped)
}
