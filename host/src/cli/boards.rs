//! `lowbit boards`.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use lowbit_host::board::ports::{self, Port, UsbId};
use lowbit_host::board::transport::SerialLine;
use lowbit_host::board::{BoardSpec, Client, Greeting, Settings};
use serde::Serialize;

use super::Context;
use super::failure::{Failure, Outcome};
use super::link::{BoardsArguments, FirmwareArguments};
use super::model::hexadecimal;
use super::output::{columns, grouped};

const EXAMPLES: &str = "\
Examples:
  lowbit boards
  lowbit boards --json
  lowbit boards --boards-dir my-boards";

/// Time that a board on a port has to say what it is.
const ANSWER_TIME: Duration = Duration::from_secs(1);

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
    /// Serial ports on USB that are plugged in.
    ports: Vec<PluggedIn>,
    /// GPUs of this computer, for `--backend wgpu`.
    adapters: Vec<Adapter>,
}

#[derive(Debug, Serialize)]
struct PluggedIn {
    port: String,
    usb: Option<UsbId>,
    product: Option<String>,
    /// Boards that have such a port.
    candidates: Vec<String>,
    /// What answers there. A port that no known board has is left alone.
    answer: Option<Answer>,
    /// Why nothing does.
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Answer {
    board: String,
    /// Version of the runtime in its firmware.
    runtime: String,
    /// Identity of its model.
    model: Option<String>,
    /// Version of its model, 0 without one.
    model_version: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Adapter {
    pub(crate) name: String,
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
    let ports = ports::list().into_iter();
    let ports = ports.map(|port| ask(context, registry.boards(), port));
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
        ports: ports.collect(),
        adapters: adapters(),
    };
    context.output.result(&report, || text(&report))?;
    Ok(Outcome::Done)
}

/// Asks what is on a port, if it can be one of `boards`.
fn ask(context: &Context, boards: &[BoardSpec], port: Port) -> PluggedIn {
    let candidates: Vec<_> = boards
        .iter()
        .filter(|board| board.may_be_on(&port))
        .collect();
    let settings = Settings {
        timeout: ANSWER_TIME,
        interrupted: Some(Arc::clone(&context.stop)),
        ..Settings::default()
    };
    let mut bauds: Vec<_> = candidates
        .iter()
        .filter_map(|board| Some(board.serial.as_ref()?.baud))
        .collect();
    bauds.dedup();
    let mut result = PluggedIn {
        candidates: candidates.iter().map(|board| board.name.clone()).collect(),
        usb: port.usb,
        product: port.product,
        answer: None,
        error: None,
        port: port.name,
    };
    for baud in bauds {
        let line = SerialLine::open(&result.port, baud).map_err(Into::into);
        match line.and_then(|line| Client::connect(Box::new(line), settings.clone())) {
            Ok(client) => {
                result.answer = Some(answer(client.greeting()));
                result.error = None;
                break;
            }
            Err(error) => result.error = Some(error.to_string()),
        }
    }
    result
}

fn answer(greeting: &Greeting) -> Answer {
    let identity = greeting.model.map(|model| model.identity);
    Answer {
        board: greeting.board.clone(),
        runtime: greeting.runtime.clone(),
        model: identity.map(|bytes| hexadecimal(&bytes)),
        model_version: greeting.model.map(|model| model.version),
    }
}

/// None where they cannot be asked for.
#[cfg(feature = "wgpu")]
pub(crate) fn adapters() -> Vec<Adapter> {
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
pub(crate) fn adapters() -> Vec<Adapter> {
    Vec::new()
}

fn text(report: &Report) -> String {
    let boards = boards_text(&report.boards);
    let boards = format!("{boards}\n{}", ports_text(&report.ports));
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

fn ports_text(ports: &[PluggedIn]) -> String {
    if ports.is_empty() {
        return "No serial port on USB is plugged in\n".to_owned();
    }
    let rows = ports.iter().map(|port| {
        let state = match (&port.answer, &port.error) {
            (Some(answer), _) => format!("answers as {}", answer.board),
            (None, Some(error)) => error.clone(),
            (None, None) => "no known board".to_owned(),
        };
        let answer = port.answer.as_ref();
        let runtime = answer.map_or("-", |answer| &answer.runtime);
        let version = answer.and_then(|answer| answer.model_version);
        let model = answer.and_then(|answer| answer.model.as_deref()?.get(..12));
        vec![
            port.port.clone(),
            port.usb.map_or("-".to_owned(), |usb| usb.to_string()),
            port.product.clone().unwrap_or("-".to_owned()),
            runtime.to_owned(),
            model.unwrap_or("-").to_owned(),
            version.map_or("-".to_owned(), |version| version.to_string()),
            state,
        ]
    });
    columns(
        &[
            "port", "USB", "product", "firmware", "model", "version", "state",
        ],
        &rows.collect::<Vec<_>>(),
    )
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
