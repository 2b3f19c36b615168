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
    /// GPUs of this computer, for `--backend wgpu`.
    adapters: Vec<Adapter>,
}

#[derive(Debug, Serialize)]
struct Adapter {
    name: String,
    kind: &'static str,
    /// Whether its driver computes on the processor.
    software: bool,
    driver: String,
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
        adapters: adapters(),
    };
    context.output.result(&report, || text(&report))?;
    Ok(Outcome::Done)
}

/// None where they cannot be asked for.
#[cfg(feature = "wgpu")]
fn adapters() -> Vec<Adapter> {
    use lowbit_runtime::batch::wgpu::{self, AdapterKind};

    let found = wgpu::Adapter::all().unwrap_or_else(|error| {
        tracing::info!("{error}");
        Vec::new()
    });
    let adapter = |found: wgpu::Adapter| Adapter {
        name: found.name,
        kind: found.kind.name(),
        software: found.kind == AdapterKind::Software,
        driver: found.driver,
    };
    found.into_iter().map(adapter).collect()
}

#[cfg(not(feature = "wgpu"))]
fn adapters() -> Vec<Adapter> {
    Vec::new()
}

fn text(report: &Report) -> String {
    let boards = boards_text(&report.boards);
    if report.adapters.is_empty() {
        let none = if cfg!(feature = "wgpu") {
            "No GPU found on this computer"
        } else {
            "GPUs are not listed: this build has no backend for them (docs/edge.md)"
        };
        return format!("{boards}\n{none}\n");
    }
    let rows = report.adapters.iter().map(|adapter| {
        let Adapter {
            name, kind, driver, ..
        } = adapter;
        vec![name.clone(), (*kind).to_owned(), driver.clone()]
    });
    let header = ["GPU of this computer", "kind", "driver"];
    let adapters = columns(&header, &rows.collect::<Vec<_>>());
    format!("{boards}\n{adapters}")
}

fn boards_text(boards: &[Board]) -> String {
    let rows = boards.iter().map(|board| {
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
