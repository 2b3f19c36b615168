//! `lowbit calibrate`.

mod on_board;
mod on_host;
mod settings;
mod sweep;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lowbit_host::calibration::Error;
use lowbit_host::data::Source;
use lowbit_host::integer::IntegerNetwork;
use lowbit_runtime::calibration::Passes;

use super::Context;
use super::failure::{Failure, Outcome};
use super::model;

const EXAMPLES: &str = "\
Examples:
  lowbit calibrate --board mps2-an386 --data npz:sensor.npz
  lowbit calibrate --board mps2-an386 --from-sensor
  lowbit calibrate --board mps2-an386 --status
  lowbit calibrate --board mps2-an386 --rollback
  lowbit calibrate --board mps2-an386 model.lowbit --on-host --data npz:sensor.npz
  lowbit calibrate model.lowbit --on-host --data npz:sensor.npz --out sensor.record
  lowbit calibrate model.lowbit --on-host --data cifar10:test_batch.bin --shift contrast:5 --labels
  lowbit eval model.lowbit --record sensor.record --data npz:sensor.npz
  lowbit calibrate model.lowbit --on-host --data npz:sensor.npz --apply adapted.lowbit
  lowbit calibrate model.lowbit --sweep --data cifar10:test_batch.bin --plot calibration.svg

The first --images images give the statistics, the next --trial ones tell whether the new parameters
help. Exits with 1 if they are not accepted. When to calibrate and when not: docs/calibration.md.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("where")
    .required(true).multiple(true).args(["on_host", "sweep", "board"]))]
pub(crate) struct Arguments {
    /// A packed file; with --board only needed for --on-host, the board has its own
    #[arg(required_unless_present = "board")]
    model: Option<PathBuf>,
    /// Images of the sensor; labels only matter with --labels
    #[arg(long, value_name = "DATA", required_unless_present_any = ["instead", "from_sensor"])]
    data: Option<Source>,
    #[command(flatten)]
    settings: settings::SettingsArguments,
    #[command(flatten)]
    on_host: on_host::OnHostArguments,
    #[command(flatten)]
    on_board: on_board::OnBoardArguments,
    #[command(flatten)]
    sweep: sweep::SweepArguments,
}

/// Layers to calibrate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanName {
    /// The few that bring most
    Fast,
    /// All, one after the other
    Exact,
}

impl From<PlanName> for Passes {
    fn from(name: PlanName) -> Self {
        match name {
            PlanName::Fast => Self::Fast,
            PlanName::Exact => Self::Exact,
        }
    }
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let Arguments {
        settings,
        on_host,
        on_board,
        ..
    } = arguments;
    if on_board.is_about_records() {
        return on_board::records(context, on_board);
    }
    let packed = arguments
        .model
        .as_ref()
        .map(|path| model::read_packed(path));
    let packed = packed.transpose()?;
    let network = packed.as_deref().map(IntegerNetwork::new).transpose()?;
    let source = arguments.data.as_ref();
    if on_board.board.is_some() {
        let check = match (network, on_host.on_host) {
            (None, true) => {
                let missing = Failure::new("--on-host with --board needs the packed file");
                return Err(missing.hint("name the file that was written to the board"));
            }
            (network, true) => network,
            (_, false) => None,
        };
        let expected = network.as_ref().map(IntegerNetwork::model);
        let board = on_board::Board {
            arguments: on_board,
            expected,
            check,
            out: on_host.out.as_deref(),
        };
        return board.run(context, settings, source);
    }
    let network = network.ok_or_else(|| Failure::new("a packed file is needed"))?;
    let source = source.ok_or_else(|| Failure::new("--data names no images"))?;
    if arguments.sweep.sweep {
        return sweep::run(context, &arguments.sweep, settings, &network, source);
    }
    on_host::run(context, on_host, settings, &network, source)
}

/// Says how to get a model that can be calibrated.
fn explain(error: Error) -> Failure {
    let hint = match &error {
        Error::NoPlan => Some("pack the run with `--calibration fast` or `--calibration exact`"),
        Error::FastOnly { .. } => {
            Some("calibrate with `--plan fast`, or pack the run with `--calibration exact`")
        }
        Error::TooManyImages { .. } => Some("calibrate on fewer images"),
        Error::Network(_) | Error::Pack(_) => None,
    };
    match hint {
        Some(hint) => Failure::from(error).hint(hint),
        None => Failure::from(error),
    }
}
