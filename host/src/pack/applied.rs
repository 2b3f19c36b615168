//! A packed file with the parameters of a calibration in place of the factory's.

use lowbit_runtime::calibration::{Layer, Payload};
use lowbit_runtime::format::{Blob, Calibration, Header, Kind, Model};

use super::{Error, file};
use crate::integer::IntegerNetwork;

/// The packed file `model` with the layers in `payload`, which have been checked against it, as its
/// own parameters, and the golden results that follow from them. It cannot be calibrated further, as
/// its statistics would be those of other parameters.
///
/// # Errors
/// If the file breaks a rule of the format afterwards.
pub fn apply(model: &Model<'_>, payload: &[u8]) -> Result<Vec<u8>, Error> {
    let mut header = *model.header();
    let mut blobs = model.blobs().to_vec();
    for layer in Payload::new(payload) {
        replace(model, &layer, &mut blobs);
    }
    if header.calibration.plan.length > 0 {
        // Plan and statistics are the last blobs.
        blobs.truncate(header.calibration.plan.offset as usize);
        header.calibration = Calibration::default();
    }
    let operations = encode_operations(model)?;
    let assemble = |header: &Header<'_>, blobs: &[u8]| {
        file::lay_out(&postcard::to_allocvec(header)?, &operations, blobs)
    };
    let changed = assemble(&header, &blobs)?;
    answer_golden_inputs(&IntegerNetwork::new(&changed)?, &mut blobs)?;
    let mut applied = assemble(&header, &blobs)?;
    file::finish(&mut applied, model.version());
    Model::new_checked(&applied)?;
    Ok(applied)
}

fn encode_operations(model: &Model<'_>) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    for operation in model.operations() {
        bytes.extend(postcard::to_allocvec(&operation)?);
    }
    Ok(bytes)
}

fn replace(model: &Model<'_>, layer: &Layer<'_>, blobs: &mut [u8]) {
    let operation = model.operations().nth(layer.operation.into());
    let Some(Kind::Conv2d { requantize, .. }) = operation.map(|operation| operation.kind) else {
        return;
    };
    for channel in 0..layer.channels() {
        if let Some((multiplier, bias)) = layer.get(channel) {
            put(
                blobs,
                requantize.multipliers,
                channel,
                &multiplier.to_le_bytes(),
            );
            put(blobs, requantize.biases, channel, &bias.to_le_bytes());
        }
    }
}

fn answer_golden_inputs(network: &IntegerNetwork<'_>, blobs: &mut [u8]) -> Result<(), Error> {
    let model = network.model();
    let golden = model.golden();
    let images = (0..golden.images).filter_map(|image| model.golden_pixels(image));
    for (image, pixels) in images.enumerate() {
        let (logits, digests) = network.logits_and_digests(pixels)?;
        for (class, logit) in logits.iter().enumerate() {
            let place = image * logits.len() + class;
            put(blobs, golden.logits, place, &logit.to_le_bytes());
        }
        for (operation, digest) in digests.iter().enumerate() {
            let place = image * digests.len() + operation;
            put(blobs, golden.digests, place, &digest.to_le_bytes());
        }
    }
    Ok(())
}

/// Writes element `index` of a blob.
fn put(blobs: &mut [u8], blob: Blob, index: usize, bytes: &[u8]) {
    let place = blob.offset as usize + index * bytes.len();
    blobs[place..][..bytes.len()].copy_from_slice(bytes);
}
