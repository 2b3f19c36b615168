//! `lowbit calibrate`.

mod on_host;
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
  lowbit calibrate model.lowbit --on-host --data npz:sensor.npz --out sensor.record
  lowbit calibrate model.lowbit --on-host --data cifar10:test_batch.bin --shift contrast:5 --labels
  lowbit eval model.lowbit --record sensor.record --data npz:sensor.npz
  lowbit calibrate model.lowbit --on-host --data npz:sensor.npz --apply adapted.lowbit
  lowbit flash --board mps2-an386 adapted.lowbit
  lowbit calibrate model.lowbit --sweep --data cifar10:test_batch.bin --plot calibration.svg

The first --images images give the statistics, the next --trial ones tell whether the new parameters
help. Exits with 1 if they are not accepted. When to calibrate and when not: docs/calibration.md.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["on_host", "sweep"]))]
pub(crate) struct Arguments {
    /// A packed file
    model: PathBuf,
    /// Images of the sensor; labels only matter with --labels
    #[arg(long, value_name = "DATA")]
    data: Source,
    #[command(flatten)]
    on_host: on_host::OnHostArguments,
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
    let packed = model::read_packed(&arguments.model)?;
    let network = IntegerNetwork::new(&packed)?;
    if arguments.sweep.sweep {
        return sweep::run(context, &arguments.sweep, &network, &arguments.data);
    }
    on_host::run(context, &arguments.on_host, &network, &arguments.data)
}

/// Says how to get a model that can be calibrated.
fn explain(error: Error) -> Failure {
    let hint = match &error {
        Error::NoPlan => Some("pack the run with `--calibration fast` or `--calibration exact`"),
        Error::FastOnly { .. } => {
            Some("calibrate with `--plan fast`, or pack the run with `--calibration exact`")
        }
        Error::TooManyImages { .. } => Some("calibrate on fewer images"),
        Error::Network(_) => None,
    };
    match hint {
        Some(hint) => Failure::from(error).hint(hint),
        None => Failure::from(error),
    }
}
