//! `lowbit doctor`.

use std::path::PathBuf;

use clap::Args;
use lowbit_host::board;
use lowbit_host::doctor::{self, Check, State};
use serde::Serialize;

use super::Context;
use super::boards::{Adapter, adapters};
use super::failure::{Failure, Outcome};
use super::link::BoardsArguments;
use super::output::columns;

const EXAMPLES: &str = "\
Examples:
  lowbit doctor
  lowbit doctor --json

Exits with 1 if something is to be mended. What is optional is only for some boards.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    boards: BoardsArguments,
    /// Directory in which emulated boards keep their flash [default: in the user's data directory]
    #[arg(long, value_name = "DIR", env = "LOWBIT_STATE_DIR")]
    state: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    checks: Vec<Check>,
    /// GPUs, for `--backend wgpu`.
    adapters: Vec<Adapter>,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let registry = arguments.boards.registry()?;
    let state = arguments
        .state
        .clone()
        .or_else(board::default_state_directory);
    let report = Report {
        checks: doctor::examine(registry.boards(), state.as_deref()),
        adapters: adapters(),
    };
    context.output.result(&report, || text(&report))?;
    let is_bad = |check: &Check| check.state == State::Bad;
    Ok(if report.checks.iter().any(is_bad) {
        Outcome::No
    } else {
        Outcome::Done
    })
}

fn text(report: &Report) -> String {
    let rows = report.checks.iter().map(|check| {
        let state = match check.state {
            State::Good => "good",
            State::Optional => "optional",
            State::Bad => "MISSING",
        };
        [&check.name, state, &check.found, &check.purpose]
            .map(str::to_owned)
            .to_vec()
    });
    let mut rows: Vec<_> = rows.collect();
    rows.push(gpu(&report.adapters));
    let table = columns(&["check", "state", "found", "for"], &rows);
    let remedies = report.checks.iter().filter_map(|check| {
        let remedy = check.remedy.as_ref()?;
        Some(format!("{}: {remedy}\n", check.name))
    });
    let remedies: String = remedies.collect();
    if remedies.is_empty() {
        table
    } else {
        format!("{table}\nWhat to do:\n{remedies}")
    }
}

fn gpu(adapters: &[Adapter]) -> Vec<String> {
    let found = match adapters {
        [] if cfg!(feature = "wgpu") => "none".to_owned(),
        [] => "this build has no backend for GPUs (docs/edge.md)".to_owned(),
        adapters => {
            let names: Vec<_> = adapters
                .iter()
                .map(|adapter| adapter.name.as_str())
                .collect();
            names.join(", ")
        }
    };
    let state = if adapters.is_empty() {
        "optional"
    } else {
        "good"
    };
    ["GPU", state, &found, "`--backend wgpu`"]
        .map(str::to_owned)
        .to_vec()
}
