//! The parameters of a record that an inference uses in place of the model's.

use super::{Layer, Payload, Plan, RecordError};

/// Largest size of a multiplier.
const LARGEST_MULTIPLIER: u32 = 1 << 30;
/// Largest size of a bias, one more than allowed.
const LARGEST_BIAS: u64 = 1 << 61;

/// New multipliers and biases for some layers of a model, read in place. Empty ones change nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Corrections<'a> {
    payload: &'a [u8],
}

impl<'a> Corrections<'a> {
    /// Checks the payload of a record: that its layers are layers of `plan` in its order, that they
    /// have as many channels, and that no parameter is so large that the arithmetic of an inference
    /// would not hold it.
    ///
    /// # Errors
    /// Names the layer that is wrong.
    pub fn new_checked(plan: &Plan<'_>, payload: &'a [u8]) -> Result<Self, RecordError> {
        let mut known = plan.layers();
        let mut layers = Payload::new(payload);
        let mut count = 0;
        for layer in &mut layers {
            let fits = known.any(|known| {
                (known.operation, usize::from(known.channels))
                    == (layer.operation, layer.channels())
            });
            if !fits {
                return Err(RecordError::NotInPlan {
                    operation: layer.operation,
                });
            }
            parameters(&layer)?;
            count += 1;
        }
        if !layers.rest().is_empty() {
            return Err(RecordError::Layer { layer: count });
        }
        Ok(Self { payload })
    }

    /// The same for a payload that [`new_checked`](Self::new_checked) has accepted, or that was made
    /// here, and that has not changed since.
    #[must_use]
    pub(crate) fn reopen(payload: &'a [u8]) -> Self {
        Self { payload }
    }

    /// The parameters of an operation, as in [`Layer::parameters`]; empty if it has no new ones.
    #[must_use]
    pub fn of(&self, operation: u16) -> &'a [u8] {
        let mut layers = Payload::new(self.payload);
        layers
            .find(|layer| layer.operation == operation)
            .map_or(&[], |layer| layer.parameters)
    }
}

fn parameters(layer: &Layer<'_>) -> Result<(), RecordError> {
    let mut channel = 0;
    while let Some((multiplier, bias)) = layer.get(channel) {
        if multiplier.unsigned_abs() > LARGEST_MULTIPLIER || bias.unsigned_abs() >= LARGEST_BIAS {
            return Err(RecordError::Parameters {
                operation: layer.operation,
                channel: channel as u16,
            });
        }
        channel += 1;
    }
    Ok(())
}
