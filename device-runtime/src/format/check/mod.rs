//! The rules that a model keeps, see [`Model::new_checked`](super::Model::new_checked).
//!
//! Everything read from the file is computed with in 64 bits, where products of the numbers that
//! occur cannot overflow or are checked for it.

mod calibration;
mod convolution;
mod operation;
mod parts;
mod source;

use super::{Error, Fault, Golden, Kind, Model};
use parts::{Arena, Section, equal, range};

/// Checks everything behind the prologue.
pub(super) fn model(model: &Model<'_>) -> Result<(), Error> {
    header(model).map_err(Error::Header)?;
    decodable(model)?;
    let operations = (0..).zip(model.operations());
    for (index, operation) in operations {
        let fault = |fault| Error::Operation { index, fault };
        place(model, index, &operation.kind).map_err(fault)?;
        operation::check(model, index, &operation).map_err(fault)?;
    }
    calibration::check(model).map_err(Error::Header)
}

fn header(model: &Model<'_>) -> Result<(), Fault> {
    let header = model.header();
    for (field, size) in ["input height", "input width", "input channels"]
        .into_iter()
        .zip(header.input)
    {
        range(field, size.into(), 1, u16::MAX.into())?;
    }
    range("classes", header.classes.into(), 1, u16::MAX.into())?;
    let [height, width, channels] = header.input.map(u64::from);
    let pixels = height * width * channels;
    Arena::of(model).part("pixels", header.pixels, pixels)?;
    golden(model, &header.golden, pixels)
}

fn golden(model: &Model<'_>, golden: &Golden, pixels: u64) -> Result<(), Fault> {
    let images = u64::from(golden.images);
    let (operations, classes) = (model.header().operations, model.header().classes);
    let section = Section::of(model);
    // At most 2^16 images of 2^48 pixels.
    let words = |columns: u16| 4 * images * u64::from(columns);
    equal(
        "golden pixels",
        images.saturating_mul(pixels),
        golden.pixels.length,
    )?;
    section.blob("golden pixels", golden.pixels, golden.pixels.length.into())?;
    section.blob("golden digests", golden.digests, words(operations))?;
    section.blob("golden logits", golden.logits, words(classes))?;
    Ok(())
}

/// Every operation can be decoded, and nothing follows the last.
fn decodable(model: &Model<'_>) -> Result<(), Error> {
    let mut operations = model.operations();
    for index in 0..model.header().operations {
        if let Some(Err(fault)) = operations.decode_next() {
            return Err(Error::Operation { index, fault });
        }
    }
    match operations.rest().len() {
        0 => Ok(()),
        bytes => Err(Error::Header(Fault::Trailing { bytes })),
    }
}

/// The input table comes first, the logits come last, and both only there.
fn place(model: &Model<'_>, index: u16, kind: &Kind) -> Result<(), Fault> {
    let first = index == 0;
    let last = index + 1 == model.header().operations;
    let expected = match kind {
        Kind::InputTable { .. } if first && !last => return Ok(()),
        Kind::Logits { .. } if last && !first => return Ok(()),
        Kind::InputTable { .. } | Kind::Logits { .. } => "an inner operation",
        _ if first => "an input table",
        _ if last => "logits",
        _ => return Ok(()),
    };
    Err(Fault::Kind { expected })
}
