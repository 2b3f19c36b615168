//! Proves that a board computes exactly what the host computes.

use lowbit_runtime::format::Model;
use lowbit_runtime::protocol::TickUnit;
use serde::Serialize;

use crate::calibration::read_record;
use crate::data::Dataset;
use crate::integer::{self, IntegerNetwork};
use crate::pack;

use super::{Client, Error, StoredRecord};

/// What to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Also the checksum of every operation's output of every image.
    pub layers: bool,
}

/// How far verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Images compared.
    pub images: usize,
    /// Images to compare.
    pub total: usize,
    /// Images whose results were equal.
    pub equal: usize,
    /// Images that the board classified as labelled.
    pub correct: usize,
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Name of the board.
    pub board: String,
    /// Processor core.
    pub core: String,
    /// Images compared.
    pub images: usize,
    /// Share of images whose results were equal, 0 to 1.
    pub agreement: f64,
    /// Percent of images that the host's integer network classified as labelled.
    pub quantized_top1: f64,
    /// Percent of images that the board classified as labelled.
    pub board_top1: f64,
    /// Instructions per inference, if that is what the board counts.
    pub instructions_per_inference: Option<f64>,
    /// Cycles per inference, if that is what the board counts.
    pub cycles_per_inference: Option<f64>,
    /// Nanoseconds per inference, if that is what the board counts.
    pub nanoseconds_per_inference: Option<f64>,
    /// Bytes of the packed model.
    pub model_bytes: usize,
    /// Generation of the calibration that the board uses, and this machine too; `None` for the
    /// factory's parameters.
    pub calibration: Option<u32>,
    /// Bytes of arena that the model uses.
    pub arena_bytes: u32,
    /// Most bytes of stack that were in use at once, if the board can tell.
    pub stack_bytes: Option<u32>,
    /// The first place at which board and host differ.
    pub first_difference: Option<Difference>,
}

impl Verdict {
    /// Whether all results of all images were equal.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.first_difference.is_none()
    }
}

/// Where board and host differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Index of the image.
    pub image: usize,
    /// Name of the layer.
    pub layer: String,
    /// The first element that differs; `None` if a second run of the layer showed no difference.
    pub element: Option<integer::Difference>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "image {}, layer `{}`, ", self.image, self.layer)?;
        match &self.element {
            Some(element) => write!(
                formatter,
                "channel {}, y {}, x {}: host {}, board {}",
                element.channel, element.y, element.x, element.host, element.device
            ),
            None => formatter.write_str("gone when run again: the board is not reliable"),
        }
    }
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
    progress: &mut dyn FnMut(Progress),
) -> Result<Verdict, Error> {
    let factory = IntegerNetwork::new(model)?;
    check_model(client, factory.model())?;
    if images.is_empty() {
        return Err(Error::NoImages);
    }
    let record = client.record()?;
    let calibrated = calibrated(&factory, record.as_ref())?;
    let host = match &calibrated {
        Some(calibrated) => IntegerNetwork::new(calibrated)?,
        None => factory,
    };
    let mut counts = Counts::default();
    let mut first_difference = None;
    for (index, &label) in images.labels.iter().enumerate() {
        let pixels = images.image(index);
        let (expected, digests) = host.logits_and_digests(pixels)?;
        let (inference, differing) = if options.layers {
            let (inference, found) = client.infer_with_digests(pixels)?;
            (inference, first_difference_of(&digests, &found))
        } else {
            (client.infer(pixels)?, None)
        };
        let equal = inference.logits == expected && differing.is_none();
        if !equal && first_difference.is_none() {
            let image = (index, pixels);
            first_difference = Some(locate(client, &host, image, &digests, differing)?);
        }
        counts.add(label, equal, &expected, &inference.logits);
        counts.ticks += u128::from(inference.ticks);
        progress(Progress {
            images: counts.images,
            total: images.len(),
            equal: counts.equal,
            correct: counts.board_correct,
        });
    }
    let info = client.info()?;
    let greeting = client.greeting();
    let ticks = counts.ticks as f64 / counts.images as f64;
    let ticks_in = |unit| (greeting.tick == unit).then_some(ticks);
    Ok(Verdict {
        board: greeting.board.clone(),
        core: greeting.core.clone(),
        images: counts.images,
        agreement: counts.equal as f64 / counts.images as f64,
        quantized_top1: counts.percent(counts.host_correct),
        board_top1: counts.percent(counts.board_correct),
        instructions_per_inference: ticks_in(TickUnit::Instructions),
        cycles_per_inference: ticks_in(TickUnit::Cycles),
        nanoseconds_per_inference: ticks_in(TickUnit::Nanoseconds),
        model_bytes: model.len(),
        calibration: record.map(|record| record.header.generation),
        arena_bytes: info.arena_used,
        stack_bytes: Some(info.stack_used).filter(|&used| used > 0),
        first_difference,
    })
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

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    images: usize,
    equal: usize,
    host_correct: usize,
    board_correct: usize,
    ticks: u128,
}

impl Counts {
    fn add(&mut self, label: u16, equal: bool, host: &[i32], board: &[i32]) {
        self.images += 1;
        self.equal += usize::from(equal);
        self.host_correct += usize::from(top1(host) == usize::from(label));
        self.board_correct += usize::from(top1(board) == usize::from(label));
    }

    fn percent(&self, count: usize) -> f64 {
        100.0 * count as f64 / self.images as f64
    }
}

/// The class with the largest logit, the lowest such class on ties.
fn top1(logits: &[i32]) -> usize {
    let best = logits
        .iter()
        .enumerate()
        .rev()
        .max_by_key(|(_, logit)| **logit);
    best.map_or(0, |(class, _)| class)
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

/// Index of the first digest that differs.
fn first_difference_of(host: &[u32], board: &[u32]) -> Option<usize> {
    let differing = host
        .iter()
        .zip(board)
        .position(|(host, board)| host != board);
    differing.or_else(|| (host.len() != board.len()).then_some(host.len().min(board.len())))
}

/// Names the first layer whose output differs, and the first element in it. `differing` is that
/// layer's index, if it is known; `digests` are the host's.
fn locate(
    client: &mut Client,
    host: &IntegerNetwork<'_>,
    (image, pixels): (usize, &[u8]),
    digests: &[u32],
    differing: Option<usize>,
) -> Result<Difference, Error> {
    let differing = match differing {
        Some(index) => Some(index),
        None => {
            let (_, found) = client.infer_with_digests(pixels)?;
            first_difference_of(digests, &found)
        }
    };
    let last = digests.len().saturating_sub(1);
    let index = differing.unwrap_or(last).min(last);
    let bytes = client.read_layer(pixels, index as u16)?;
    let output = host.layer_output(pixels, index)?;
    Ok(Difference {
        image,
        element: output.as_ref().and_then(|output| output.difference(&bytes)),
        layer: output.map_or_else(|| format!("operation {index}"), |output| output.name),
    })
}
