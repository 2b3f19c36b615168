//! `lowbit calibrate --board`: a board adapts itself, goes back, or says what it uses.

use std::path::Path;

use clap::Args;
use lowbit_host::board::{
    CalibrationOrder, Cause, Client, Error, Inputs, RecordPlace, check_model,
};
use lowbit_host::calibration::Settings;
use lowbit_host::data::Source;
use lowbit_host::integer::IntegerNetwork;
use lowbit_host::pack;
use lowbit_runtime::calibration::Header;
use lowbit_runtime::format::Model;
use serde::Serialize;

use super::super::Context;
use super::super::failure::{Failure, Outcome};
use super::super::link::{ConnectionArguments, explain};
use super::super::output::table;
use super::settings::{BoardReport, Report, SettingsArguments};

#[derive(Debug, Args)]
#[command(next_help_heading = "Board")]
pub(crate) struct OnBoardArguments {
    /// Name of the board that calibrates itself, see `lowbit boards`; this computer sends the images
    #[arg(long, value_name = "NAME")]
    pub(super) board: Option<String>,
    /// The board uses its own sensor; nothing is sent. Emulated boards read `sensor.raw` in the
    /// directory of their flash, the board linux the images of a folder: see docs/calibration.md
    #[arg(long, requires = "board", conflicts_with_all = ["data", "labels", "shift"])]
    pub(super) from_sensor: bool,
    /// Only say whether the new parameters would be accepted
    #[arg(long, requires = "board")]
    dry_run: bool,
    /// Only say which calibrations the board holds
    #[arg(long, requires = "board", group = "instead")]
    status: bool,
    /// Take the calibration in use back: the one before it, else the factory's parameters take over
    #[arg(long, requires = "board", group = "instead")]
    rollback: bool,
    /// Erase all calibrations: the factory's parameters take over
    #[arg(long, requires = "board", group = "instead")]
    reset: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
}

impl OnBoardArguments {
    /// Whether no images are needed.
    pub(super) fn is_about_records(&self) -> bool {
        self.status || self.rollback || self.reset
    }

    fn connect(&self, context: &Context) -> Result<Client, Failure> {
        let board = self.board.as_deref().unwrap_or_default();
        self.connection.connect(context, board)
    }
}

/// What a board uses, and what it could go back to.
#[derive(Debug, Serialize)]
struct Status {
    board: String,
    /// Generation of the record in use; none is the factory's parameters.
    generation: Option<u32>,
    places: Vec<Place>,
}

#[derive(Debug, Serialize)]
struct Place {
    in_use: bool,
    generation: Option<u32>,
    images: Option<u32>,
    prior: Option<u32>,
    layers: Option<u16>,
    bytes: Option<usize>,
    /// Why there is none.
    reason: Option<String>,
    #[serde(skip)]
    text: String,
}

/// Says, takes back or erases.
pub(super) fn records(context: &Context, arguments: &OnBoardArguments) -> Result<Outcome, Failure> {
    let mut client = arguments.connect(context)?;
    if arguments.rollback {
        client.roll_back().map_err(hint)?;
    }
    if arguments.reset {
        client.reset_calibration().map_err(hint)?;
    }
    let places = client.records().map_err(hint)?;
    let greeting = client.greeting();
    let status = Status {
        board: greeting.board.clone(),
        generation: greeting.model.and_then(|model| model.record),
        places: places.iter().map(place).collect(),
    };
    context.output.result(&status, || text(&status))?;
    Ok(Outcome::Done)
}

fn place(place: &RecordPlace) -> Place {
    let record = place.record.as_ref();
    let header = record.ok().map(|record| record.header);
    Place {
        in_use: place.in_use,
        generation: header.map(|header| header.generation),
        images: header.map(|header| header.images),
        prior: header.map(|header| header.prior),
        layers: header.map(|header| header.layers),
        bytes: record.ok().map(|record| record.bytes.len()),
        reason: record.err().map(ToString::to_string),
        text: match record {
            Ok(record) => described(&record.header),
            Err(error) => error.to_string(),
        },
    }
}

fn described(header: &Header) -> String {
    let metric = |value: u32| match header.labelled {
        true => format!("{} permille correct", value),
        false => format!("margin {:.3}", f64::from(value) / 65536.0),
    };
    format!(
        "calibration {}: {} layers, {} images, prior {}, {} before, {} after",
        header.generation,
        header.layers,
        header.images,
        header.prior,
        metric(header.before),
        metric(header.after)
    )
}

fn text(status: &Status) -> String {
    let in_use = match status.generation {
        Some(generation) => format!("calibration {generation}"),
        None => "the factory's parameters".to_owned(),
    };
    let mut rows = vec![("board", status.board.clone()), ("in use", in_use)];
    rows.extend(
        status
            .places
            .iter()
            .map(|place| ("place", place.text.clone())),
    );
    table(&rows)
}

/// A board to calibrate.
pub(super) struct Board<'a> {
    pub(super) arguments: &'a OnBoardArguments,
    /// The model that it should have.
    pub(super) expected: Option<&'a Model<'a>>,
    /// The same, to compute the new parameters here too.
    pub(super) check: Option<IntegerNetwork<'a>>,
    /// Where to write the record.
    pub(super) out: Option<&'a Path>,
}

impl Board<'_> {
    pub(super) fn run(
        &self,
        context: &Context,
        settings: &SettingsArguments,
        source: Option<&Source>,
    ) -> Result<Outcome, Failure> {
        let sent = source.map(|source| settings.load(source)).transpose()?;
        let inputs = match &sent {
            Some((seen, unseen)) => Inputs::Sent { seen, unseen },
            None => Inputs::Sensed {
                seen: settings.images,
                unseen: settings.trial,
            },
        };
        let mut client = self.arguments.connect(context)?;
        if let Some(model) = self.expected {
            check_model(&client, model).map_err(explain)?;
        }
        let passes = settings.passes();
        let bar = context.output.bar(0, "calibrating");
        let calibrate = |prior| {
            let order = CalibrationOrder {
                settings: Settings { passes, prior },
                inputs,
                labels: settings.labels,
                force: settings.force,
                commit: !self.arguments.dry_run,
                check: self.check,
            };
            client.calibrate(&order, &mut |done, total| {
                bar.set_length(total as u64);
                bar.set_position(done as u64);
            })
        };
        let chosen = settings
            .priors()
            .choose(calibrate, |found| found.judgement.verdict);
        bar.finish_and_clear();
        let chosen = chosen.map_err(hint)?;
        let found = &chosen.attempt;
        if let (Some(path), Some(record)) = (self.out, &found.record) {
            pack::write(path, record)?;
        }
        let judgement = found.judgement;
        let report = Report {
            accepted: judgement.verdict.is_ok(),
            reason: judgement
                .verdict
                .err()
                .map(|rejection| rejection.to_string()),
            images: judgement.images,
            layers: judgement.layers,
            channels: judgement.channels,
            clamped_channels: judgement.clamped,
            histogram: found.histogram.clone(),
            record_bytes: found.record.as_ref().map(Vec::len),
            generation: judgement.generation,
            board: Some(BoardReport {
                board: client.greeting().board.clone(),
                memory_bytes: found.memory_bytes,
            }),
            ..Report::of(&chosen)
        };
        report
            .tried(settings.labels, &found.before, &found.after)
            .print(context)
    }
}

/// Says what to do about what a board refuses.
fn hint(error: Error) -> Failure {
    let advice = match &error {
        Error::Refused { cause, .. } => match cause {
            Cause::NoModel => Some("write a model to the board with `lowbit flash`"),
            Cause::NoStatistics => {
                Some("pack the run with `--calibration fast` or `--calibration exact`")
            }
            Cause::FastOnly => {
                Some("calibrate by `--plan fast`, or pack the run with `--calibration exact`")
            }
            Cause::CannotCalibrate => Some(
                "calibrate on this computer with `--on-host --apply`, and write the result to the \
                 board",
            ),
            Cause::NoSensor => Some(
                "send images with `--data`; what the sensors of emulated boards and of the board linux \
                 see is in docs/calibration.md",
            ),
            _ => None,
        },
        Error::SensorInputs { .. } => Some("give smaller `--images` and `--trial`, or record more"),
        _ => None,
    };
    let failure = explain(error);
    match advice {
        Some(advice) => failure.hint(advice),
        None => failure,
    }
}
