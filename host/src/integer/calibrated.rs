//! A network whose requantizers are being or have been calibrated.

use lowbit_runtime::batch::{BatchNetwork, IMAGES, Workspace};
use lowbit_runtime::calibration::{Corrections, Moments, Payload, Plan, PlanLayer, RecordError};
use lowbit_runtime::engine::Engine;
use rayon::prelude::*;

use super::{Arena, Error, IntegerNetwork};

/// A packed network with the new parameters of some layers.
pub struct Calibrated<'n, 'a> {
    network: &'n IntegerNetwork<'a>,
    way: Way<'a>,
}

enum Way<'a> {
    Batches(Box<BatchNetwork<'a>>),
    /// Image after image, with layers of a record's payload, which have been checked.
    Engine(Vec<u8>),
}

impl<'n, 'a> Calibrated<'n, 'a> {
    /// The network as it left the factory, many images at once.
    #[must_use]
    pub fn new(network: &'n IntegerNetwork<'a>) -> Self {
        match BatchNetwork::new(*network.model()) {
            Ok(batches) => Self {
                network,
                way: Way::Batches(Box::new(batches)),
            },
            Err(error) => {
                tracing::info!("image after image, as batches cannot be used: {error}");
                Self::portable(network)
            }
        }
    }

    /// The same with the portable kernels, image after image, as on a board.
    #[must_use]
    pub fn portable(network: &'n IntegerNetwork<'a>) -> Self {
        Self {
            network,
            way: Way::Engine(Vec::new()),
        }
    }

    /// Uses the layers in `payload`, see [`lowbit_runtime::calibration`], from now on, beside those
    /// that were applied before.
    ///
    /// # Errors
    /// If they are not layers of this network's plan.
    pub fn apply(&mut self, payload: &[u8]) -> Result<(), Error> {
        let plan = Plan::of(self.network.model()).ok_or(RecordError::Model)?;
        Corrections::new_checked(&plan, payload)?;
        match &mut self.way {
            Way::Batches(batches) => {
                Payload::new(payload).for_each(|layer| batches.correct(&layer));
            }
            Way::Engine(corrections) => corrections.extend_from_slice(payload),
        }
        Ok(())
    }

    /// The moments of `layer`'s accumulators over all `images`, one per output channel.
    ///
    /// # Errors
    /// If an image has another size.
    pub fn moments(&self, images: &[&[u8]], layer: &PlanLayer<'_>) -> Result<Vec<Moments>, Error> {
        let none = || vec![Moments::default(); usize::from(layer.channels)];
        let merge = |mut all: Vec<Moments>, part: Vec<Moments>| {
            let pairs = all.iter_mut().zip(&part);
            pairs.for_each(|(all, part)| all.merge(part));
            all
        };
        self.check(images)?;
        match &self.way {
            Way::Batches(batches) => Ok(images
                .par_chunks(IMAGES)
                .fold(
                    || (none(), Workspace::default()),
                    |(mut moments, mut workspace), images| {
                        batches.collect(images, &mut workspace, layer, &mut moments);
                        (moments, workspace)
                    },
                )
                .map(|(moments, _)| moments)
                .reduce(none, merge)),
            Way::Engine(corrections) => images
                .par_iter()
                .map_init(
                    || self.network.arena(),
                    |arena, image| {
                        let mut moments = none();
                        self.engine(corrections, arena, image)?
                            .collect(layer, &mut moments);
                        Ok(moments)
                    },
                )
                .try_reduce(none, |all, part| Ok(merge(all, part))),
        }
    }

    /// Image after image one logit per class, unit 2^-16.
    ///
    /// # Errors
    /// If an image has another size.
    pub fn logits(&self, images: &[&[u8]]) -> Result<Vec<i32>, Error> {
        self.check(images)?;
        let classes = usize::from(self.network.model().header().classes);
        let mut logits = vec![0; images.len() * classes];
        match &self.way {
            Way::Batches(batches) => logits
                .par_chunks_mut(classes * IMAGES)
                .zip(images.par_chunks(IMAGES))
                .for_each_init(Workspace::default, |workspace, (logits, images)| {
                    batches.run(images, workspace, logits);
                }),
            Way::Engine(corrections) => logits
                .par_chunks_mut(classes)
                .zip(images)
                .try_for_each_init(
                    || self.network.arena(),
                    |arena, (logits, image)| {
                        let mut engine = self.engine(corrections, arena, image)?;
                        if let Some(result) = engine.run(&mut ()) {
                            logits.copy_from_slice(result.as_slice());
                        }
                        Ok::<_, Error>(())
                    },
                )?,
        }
        Ok(logits)
    }

    /// An engine with the corrections so far and `pixels` in its arena.
    fn engine<'m>(
        &'m self,
        corrections: &'m [u8],
        arena: &'m mut Arena,
        pixels: &[u8],
    ) -> Result<Engine<'m, 'm>, Error> {
        let engine = self.network.engine(arena, pixels)?;
        match Plan::of(self.network.model()) {
            Some(plan) => {
                let corrections = Corrections::new_checked(&plan, corrections)?;
                Ok(engine.with_corrections(corrections))
            }
            None => Ok(engine),
        }
    }

    fn check(&self, images: &[&[u8]]) -> Result<(), Error> {
        images
            .iter()
            .try_for_each(|image| self.network.check_pixels(image))
    }
}
