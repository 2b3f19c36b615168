//! Proves that a board computes exactly what the host computes.

mod comparison;
mod difference;
mod verdict;

use lowbit_runtime::format::Model;

use crate::calibration::read_record;
use crate::data::Dataset;
use crate::integer::{self, IntegerNetwork};
use crate::pack;

use super::stream::Stream;
use super::{Client, Error, StoredRecord};
pub use comparison::Comparison;
pub use difference::Difference;
pub use verdict::{Answers, Durations, Verdict};

/// What to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Also the checksum of every operation's output of every image.
    pub layers: bool,
}

/// How far verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// What was found last.
    pub latest: &'a Comparison,
    /// Images compared.
    pub images: usize,
    /// Images to compare.
    pub total: usize,
}

/// Runs all `images` on the board, which must have `model` (a packed file), and on this machine. If
/// the board uses a calibration, so does this machine.
///
/// # Errors
/// If there is nothing to compare, the board has another model, or it stops answering. A
/// difference is no error but a verdict.
pub fn verify(
    client: &mut Client,
    model: &[u8],
    images: &Dataset,
    options: Options,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Verdict, Error> {
    resume(client, model, images, options, Vec::new(), progress)
}

/// Like [`verify`], without the first images, of which the comparisons are `known` from before.
///
/// # Errors
/// As [`verify`], or if `known` are comparisons of other images.
pub fn resume(
    client: &mut Client,
    model: &[u8],
    images: &Dataset,
    options: Options,
    known: Vec<Comparison>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Verdict, Error> {
    let factory = IntegerNetwork::new(model)?;
    check_model(client, factory.model())?;
    if images.is_empty() {
        return Err(Error::NoImages);
    }
    let mut comparisons = known;
    comparisons.truncate(images.len());
    let other = |(index, known): &(usize, &Comparison)| !known.is_of(images, *index);
    if let Some((image, _)) = comparisons.iter().enumerate().find(other) {
        return Err(Error::OtherImages { image });
    }
    let record = client.record()?;
    let calibrated = calibrated(&factory, record.as_ref())?;
    let host = match &calibrated {
        Some(calibrated) => IntegerNetwork::new(calibrated)?,
        None => factory,
    };
    let mut equal = comparisons.iter().all(|comparison| comparison.equal);
    let first = comparisons.len();
    let mut stream = client.stream(images, first, options.layers);
    for index in first..images.len() {
        let comparison = compare(&mut stream, &host, images, index, options, equal)?;
        equal &= comparison.equal;
        progress(Progress {
            latest: &comparison,
            images: index + 1,
            total: images.len(),
        });
        comparisons.push(comparison);
    }
    let info = client.info()?;
    let verdict = Verdict::new(client.greeting(), info, &comparisons, images.classes);
    Ok(Verdict {
        model_bytes: model.len(),
        calibration: record.map(|record| record.header.generation),
        ..verdict
    })
}

/// The next image, number `index`, on the board and here at once; looks for the place of a
/// difference if it is to `locate` it.
fn compare(
    stream: &mut Stream<'_, '_>,
    host: &IntegerNetwork<'_>,
    images: &Dataset,
    index: usize,
    options: Options,
    locate: bool,
) -> Result<Comparison, Error> {
    let pixels = images.image(index);
    stream.send()?;
    let (expected, digests) = host.logits_and_digests(pixels)?;
    let (inference, found) = stream.result()?;
    let differing = match options.layers {
        true => difference::first(&digests, &found),
        false => None,
    };
    let mut comparison = Comparison::new(images, index, &expected, &inference);
    comparison.equal &= differing.is_none();
    if !comparison.equal && locate {
        let found =
            difference::locate(stream.client(), host, (index, pixels), &digests, differing)?;
        comparison.difference = Some(found);
    }
    Ok(comparison)
}

/// The packed file with the parameters of a board's record.
fn calibrated(
    network: &IntegerNetwork<'_>,
    record: Option<&StoredRecord>,
) -> Result<Option<Vec<u8>>, Error> {
    let Some(record) = record else {
        return Ok(None);
    };
    let (_, payload) =
        read_record(network.model(), &record.bytes).map_err(integer::Error::Record)?;
    Ok(Some(pack::apply(network.model(), payload)?))
}

/// Whether the board has `model`.
///
/// # Errors
/// If it has another or none; the error names both.
pub fn check_model(client: &Client, model: &Model<'_>) -> Result<(), Error> {
    let found = client.greeting().model.map(|info| info.identity);
    if found == Some(*model.identity()) {
        return Ok(());
    }
    Err(Error::OtherModel {
        expected: abbreviated(model.identity()),
        found: found.as_ref().map(abbreviated),
    })
}

/// The first 6 bytes as hexadecimal digits.
fn abbreviated(identity: &[u8; 32]) -> String {
    identity[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
