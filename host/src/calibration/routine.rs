//! Statistics of images become a record's payload.

use lowbit_runtime::calibration::{Moments, Passes, Plan, PlanLayer, Weights, finish_pass};

use crate::integer::{self, Calibrated, IntegerNetwork};
use crate::pack;

/// How to calibrate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Which layers.
    pub passes: Passes,
    /// Images that the statistics of the training data count as.
    pub prior: u32,
}

/// The new parameters of a network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Calibration {
    /// The layers, as in a record.
    pub payload: Vec<u8>,
    /// Their number.
    pub layers: u16,
    /// Channels that have new parameters.
    pub channels: u32,
    /// Channels among them that were not followed all the way.
    pub clamped: u32,
}

/// Why a network cannot be calibrated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model has no plan.
    #[error("the model holds no statistics to calibrate by")]
    NoPlan,
    /// The model has statistics of the fast plan's layers only.
    #[error(
        "the model holds statistics of {held} of its {convolutions} convolutions only, those of the fast plan"
    )]
    FastOnly {
        /// Layers in the plan.
        held: usize,
        /// Layers of the model.
        convolutions: usize,
    },
    /// More accumulators than the sums hold.
    #[error("{images} images are too many: the sums of operation {operation} hold at most {most}")]
    TooManyImages {
        /// Images given.
        images: usize,
        /// Most that fit.
        most: u32,
        /// The first such layer.
        operation: u16,
    },
    /// The images do not fit the network.
    #[error(transparent)]
    Network(#[from] integer::Error),
    /// The new parameters make no packed file.
    #[error(transparent)]
    Pack(#[from] pack::Error),
}

impl IntegerNetwork<'_> {
    /// The layers that can be calibrated by `passes`.
    ///
    /// # Errors
    /// If the model lacks the statistics.
    pub fn plan(&self, passes: Passes) -> Result<Plan<'_>, Error> {
        let plan = Plan::of(self.model()).ok_or(Error::NoPlan)?;
        match plan.lacks(self.model(), passes) {
            Some(convolutions) => Err(Error::FastOnly {
                held: plan.layer_count(),
                convolutions,
            }),
            None => Ok(plan),
        }
    }
}

/// Calibrates the factory's network `calibrated` of `network` on `images`, pass by pass; every pass
/// sees the layers before it corrected. `calibrated` has the new parameters afterwards.
///
/// # Errors
/// If the model lacks the statistics, or the images are too many or of another size.
pub fn calibrate(
    network: &IntegerNetwork<'_>,
    calibrated: &mut Calibrated<'_, '_>,
    images: &[&[u8]],
    settings: Settings,
) -> Result<Calibration, Error> {
    let plan = network.plan(settings.passes)?;
    let mut found = Calibration::default();
    for layer in plan.passes(settings.passes) {
        let moments = calibrated.moments(images, &layer)?;
        let weights = Weights {
            positions: positions(network, &layer, images.len())?,
            images: images.len() as u32,
            prior: settings.prior,
        };
        let parameters = found.add(network, &layer, &moments, &weights);
        calibrated.apply(parameters)?;
    }
    Ok(found)
}

impl Calibration {
    /// Adds the parameters of `layer` that `moments`, one per channel, lead to, and returns them.
    pub(crate) fn add(
        &mut self,
        network: &IntegerNetwork<'_>,
        layer: &PlanLayer<'_>,
        moments: &[Moments],
        weights: &Weights,
    ) -> &[u8] {
        let mut memory = vec![0; layer.memory_bytes()];
        let sums: &[u8] = bytemuck::cast_slice(moments);
        memory[..sums.len()].copy_from_slice(sums);
        let clamped = finish_pass(network.model(), layer, weights, &mut memory);
        let from = self.payload.len();
        self.payload
            .extend_from_slice(&memory[..layer.payload_bytes()]);
        self.layers += 1;
        self.channels += u32::from(layer.channels);
        self.clamped += clamped.unwrap_or_default();
        &self.payload[from..]
    }
}

/// Accumulators per channel of `layer` over `images`.
pub(super) fn positions(
    network: &IntegerNetwork<'_>,
    layer: &PlanLayer<'_>,
    images: usize,
) -> Result<u32, Error> {
    let most = layer.most_images(network.model());
    if images > most as usize {
        return Err(Error::TooManyImages {
            images,
            most,
            operation: layer.operation,
        });
    }
    Ok(images as u32 * layer.positions(network.model()))
}
