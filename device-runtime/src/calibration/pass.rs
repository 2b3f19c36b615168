//! One pass: the moments of a layer become its new parameters.

use crate::format::{Kind, Model};
use crate::kernels::Affines;

use super::record::{ERASED, LAYER_HEADER_BYTES};
use super::{Layer, Moments, PARAMETER_BYTES, PlanLayer, Weights, correct};

/// Turns the moments of `layer`, one per channel from the first byte of `memory` on, into the layer
/// of a payload with the parameters that they lead to, in the same place, so that a board needs no
/// memory for both; what the factory gave the layer is read from `model`. `memory` has
/// [`PlanLayer::memory_bytes`], of which [`PlanLayer::payload_bytes`] are the layer afterwards.
///
/// Returns the number of channels that were not followed all the way; `None` if `memory` is too
/// small or `layer` is not one of `model`.
#[must_use]
pub fn finish_pass(
    model: &Model<'_>,
    layer: &PlanLayer<'_>,
    weights: &Weights,
    memory: &mut [u8],
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
    let memory = memory.get_mut(..layer.memory_bytes())?;
    let mut clamped = 0;
    let mut end = LAYER_HEADER_BYTES;
    for channel in 0..usize::from(layer.channels) {
        let sums = memory.get(channel * Moments::BYTES..)?.first_chunk()?;
        let moments = bytemuck::must_cast::<[u8; Moments::BYTES], Moments>(*sums);
        let reference = layer.reference(channel)?;
        let found = correct(&factory.get(channel), &reference, &moments, weights);
        // Ends no later than the sums of this channel did.
        let place: &mut [u8; PARAMETER_BYTES] = memory.get_mut(end..)?.first_chunk_mut()?;
        *place = Layer::channel(found.affine.multiplier, found.affine.bias);
        end += PARAMETER_BYTES;
        clamped += u32::from(found.clamped);
    }
    *memory.first_chunk_mut()? = Layer::head(layer.operation, layer.channels);
    memory.get_mut(end..layer.payload_bytes())?.fill(ERASED);
    Some(clamped)
}
