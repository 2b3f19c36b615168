//! `lowbit boards`.

use clap::Args;
use serde::Serialize;

use super::Context;
use super::failure::{Failure, Outcome};
use super::link::{BoardsArguments, FirmwareArguments};
use super::output::{columns, grouped};

const EXAMPLES: &str = "\
Examples:
  lowbit boards
  lowbit boards --json
  lowbit boards --boards-dir my-boards";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    boards: BoardsArguments,
    #[command(flatten)]
    firmware: FirmwareArguments,
}

#[derive(Debug, Serialize)]
struct Report {
    boards: Vec<Board>,
}

#[derive(Debug, Serialize)]
struct Board {
    name: String,
    description: String,
    core: String,
    arena_bytes: u32,
    model_bytes: u32,
    emulated: bool,
    /// Whether its firmware has been built here.
    firmware: Option<String>,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let registry = arguments.boards.registry()?;
    let boards = registry.boards().iter().map(|board| Board {
        name: board.name.clone(),
        description: board.description.clone(),
        core: board.core.clone(),
        arena_bytes: board.memory.arena.bytes,
        model_bytes: board.memory.models.bytes / u32::from(board.limits.slots.max(1)),
        emulated: board.qemu.is_some(),
        firmware: arguments
            .firmware
            .find(board)
            .ok()
            .map(|path| path.display().to_string()),
    });
    let report = Report {
        boards: boards.collect(),
    };
    context.output.result(&report, || text(&report))?;
    Ok(Outcome::Done)
}

fn text(report: &Report) -> String {
    let rows = report.boards.iter().map(|board| {
        vec![
            board.name.clone(),
            board.core.clone(),
            grouped(board.arena_bytes.into()),
            grouped(board.model_bytes.into()),
            if board.emulated { "QEMU" } else { "-" }.to_owned(),
            if board.firmware.is_some() {
                "built"
            } else {
                "not built"
            }
            .to_owned(),
        ]
    });
    columns(
        &[
            "board",
            "core",
            "arena B",
            "largest model B",
            "emulator",
            "firmware",
        ],
        &rows.collect::<Vec<_>>(),
    )
}
