//! Calibration before a network is packed: its parameters become the factory's.

use lowbit_runtime::calibration::{Moments, Passes, Payload, Reference, Weights};
use lowbit_runtime::format::{Kind, Requantize, Residual};

use super::agreement::Agreement;
use super::routine::positions;
use super::{Calibration, Error};
use crate::integer::{Calibrated, IntegerNetwork};
use crate::lower::{Blobs, Program};
use crate::pack;

/// Images that the statistics of training count as, for each image that the network is calibrated on.
/// docs/calibration.md compares.
const PRIOR_PER_IMAGE: u32 = 4;
/// Parts of the images: each judges what the others lead to.
const PARTS: usize = 4;
/// Half of what a multiplier may be, so that a board can double it.
const LARGEST_MULTIPLIER: u32 = 1 << 29;

/// Whether calibration makes a network more like the float network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recalibration {
    /// Images that it was calibrated on.
    pub images: usize,
    /// Images that the statistics of training count as.
    pub prior: u32,
    /// With the parameters that it was trained with.
    pub before: Agreement,
    /// With new ones, each image with those that the images of other parts lead to.
    pub after: Agreement,
}

impl Recalibration {
    /// Compares `program` with the float network, whose logits on `images` are `expected`, one row of
    /// each image.
    ///
    /// # Errors
    /// If it cannot be calibrated, or the images do not fit.
    pub fn new(program: &Program, images: &[&[u8]], expected: &[f32]) -> Result<Self, Error> {
        let classes = usize::from(program.classes);
        let agreement = |program: &Program, part: &dyn Fn(usize) -> bool| {
            let packed = pack::pack(program, &[])?;
            let network = IntegerNetwork::new(&packed)?;
            let rows = images
                .iter()
                .zip(expected.chunks_exact(classes))
                .enumerate();
            let (images, expected): (Vec<&[u8]>, Vec<&[f32]>) = rows
                .filter(|(index, _)| part(*index))
                .map(|(_, row)| row)
                .unzip();
            let found = Calibrated::new(&network).logits(&images)?;
            Ok::<_, Error>(Agreement::new(classes, &expected.concat(), &found))
        };
        let before = agreement(program, &|_| true)?;
        let mut after = Agreement::default();
        for part in 0..PARTS {
            let others = images.iter().enumerate();
            let others = others.filter(|(index, _)| index % PARTS != part);
            let others: Vec<&[u8]> = others.map(|(_, image)| *image).collect();
            let changed = recalibrated(program, &others)?;
            after.add(&agreement(&changed, &|index| index % PARTS == part)?);
        }
        Ok(Self {
            images: images.len(),
            prior: prior(images),
            before,
            after,
        })
    }

    /// Whether the answers come closer, and no fewer images are answered alike.
    #[must_use]
    pub fn helps(&self) -> bool {
        self.after.agreeing >= self.before.agreeing
            && self.after.divergence < self.before.divergence
    }
}

fn prior(images: &[&[u8]]) -> u32 {
    PRIOR_PER_IMAGE.saturating_mul(images.len() as u32)
}

/// The program with the parameters that `images` lead to in all layers that can be calibrated, and
/// the statistics that belong to them, so that a board can go on from there.
///
/// # Errors
/// If it cannot be calibrated, or the images do not fit.
pub fn recalibrated(program: &Program, images: &[&[u8]]) -> Result<Program, Error> {
    let packed = pack::pack(program, &[])?;
    let network = IntegerNetwork::new(&packed)?;
    let mut calibrated = Calibrated::new(&network);
    let mut found = Calibration::default();
    let mut changed = program.clone();
    for (index, layer) in network.plan(Passes::Exact)?.layers().enumerate() {
        let moments = calibrated.moments(images, &layer)?;
        let weights = Weights {
            positions: positions(&network, &layer, images.len())?,
            images: images.len() as u32,
            prior: prior(images),
        };
        let parameters = found.add(&network, &layer, &moments, &weights);
        calibrated.apply(parameters)?;
        take(&mut changed, index, parameters, &moments, &weights);
    }
    Ok(changed)
}

/// Takes the parameters of layer `index` of those that can be calibrated.
fn take(
    program: &mut Program,
    index: usize,
    parameters: &[u8],
    moments: &[Moments],
    weights: &Weights,
) {
    let layer = &mut program.calibration[index];
    let Kind::Conv2d {
        requantize,
        residual,
        ..
    } = program.steps[layer.step].kind
    else {
        return;
    };
    let Some(parameters) = Payload::new(parameters).next() else {
        return;
    };
    for (channel, (reference, moments)) in layer.references.iter_mut().zip(moments).enumerate() {
        let Some(new) = parameters.get(channel) else {
            return;
        };
        if Channel::of(&program.blobs, &requantize, channel).replace(
            &mut program.blobs,
            &residual,
            new,
        ) {
            *reference = Reference::adapted(reference, moments, weights);
        }
    }
}

/// The requantizer of a channel in a program.
struct Channel<'a> {
    requantize: &'a Requantize,
    index: usize,
    shift: u8,
    old: (i32, i64),
}

impl<'a> Channel<'a> {
    fn of(blobs: &Blobs, requantize: &'a Requantize, index: usize) -> Self {
        let [shift] = blobs.get(requantize.shifts, index);
        let multiplier = i32::from_le_bytes(blobs.get(requantize.multipliers, index));
        let bias = i64::from_le_bytes(blobs.get(requantize.biases, index));
        Self {
            requantize,
            index,
            shift,
            old: (multiplier, bias),
        }
    }

    /// Takes a multiplier and a bias; false if it keeps its own, as others did not fit.
    fn replace(&self, blobs: &mut Blobs, residual: &Residual, new: (i32, i64)) -> bool {
        let (mut multiplier, mut bias) = new;
        if new == self.old {
            return false;
        }
        let mut shift = self.shift;
        if multiplier.unsigned_abs() > LARGEST_MULTIPLIER {
            if shift < 2 {
                return false;
            }
            (multiplier, bias, shift) = (halved(multiplier), bias >> 1, shift - 1);
            match residual {
                Residual::None => {}
                Residual::Identity { multipliers, .. }
                | Residual::Projection { multipliers, .. } => {
                    let skip = i32::from_le_bytes(blobs.get(*multipliers, self.index));
                    blobs.put(*multipliers, self.index, &halved(skip).to_le_bytes());
                }
            }
        }
        let Requantize {
            multipliers,
            biases,
            shifts,
            ..
        } = *self.requantize;
        blobs.put(multipliers, self.index, &multiplier.to_le_bytes());
        blobs.put(biases, self.index, &bias.to_le_bytes());
        blobs.put(shifts, self.index, &[shift]);
        true
    }
}

/// To the nearest, of numbers up to 2^30 in size.
fn halved(multiplier: i32) -> i32 {
    (multiplier + 1) >> 1
}
