//! `lowbit flash --firmware`.

use std::path::Path;

use lowbit_host::board::BoardSpec;
use lowbit_host::board::install::{DriveError, InstallError, Installation, PROBE_RS, how_to_get};
use serde::Serialize;

use super::Context;
use super::failure::{Failure, Outcome};
use super::link::LinkArguments;
use super::output::table;

#[derive(Debug, Serialize)]
struct Report {
    board: String,
    /// The ELF file.
    firmware: String,
    /// How it was installed.
    installer: &'static str,
}

/// Puts the firmware of the board in `link` onto it, onto `drive` if the user names one.
pub(crate) fn install(
    context: &Context,
    link: &LinkArguments,
    drive: Option<&Path>,
) -> Result<Outcome, Failure> {
    let board = link.board()?;
    let installer = board.installer.as_ref().ok_or_else(|| needs_none(&board))?;
    let firmware = link.firmware(&board)?;
    let installation = Installation {
        firmware: &firmware,
        region: board.memory.firmware,
        port: link.port(),
        drive,
    };
    installer.install(installation).map_err(advise)?;
    let report = Report {
        board: board.name.clone(),
        firmware: firmware.display().to_string(),
        installer: installer.name(),
    };
    context.output.result(&report, || text(&report))?;
    Ok(Outcome::Done)
}

fn needs_none(board: &BoardSpec) -> Failure {
    let name = &board.name;
    let reason = if board.qemu.is_some() {
        "QEMU loads the firmware whenever a command uses the board"
    } else {
        "its firmware is a program, which a command starts or you do"
    };
    Failure::new(format!("`{name}` needs no installation: {reason}"))
        .hint(format!("lowbit flash --board {name} model.lowbit"))
}

fn advise(error: InstallError) -> Failure {
    let hint = match &error {
        InstallError::NoProgram { program } => how_to_get(program),
        InstallError::Failed {
            program: PROBE_RS, ..
        } => {
            "is the board plugged in, at the plug of its debugger? `probe-rs list` shows the \
             debuggers; on Linux they need rules for udev, see \
             https://probe.rs/docs/getting-started/probe-setup; several are told apart by the \
             environment variable PROBE_RS_PROBE"
        }
        InstallError::Failed { .. } => {
            "is the board plugged in? Choose its port with --port PORT; if it does not start to \
             write, keep BOOT pressed while you press RESET"
        }
        InstallError::Drive(DriveError::None { .. }) => {
            "keep BOOTSEL pressed while you plug the board in, wait until its drive is mounted, or \
             mount it and name it with --drive DIR"
        }
        InstallError::Drive(DriveError::Several { .. }) => "choose one with --drive DIR",
        _ => return error.into(),
    };
    Failure::from(error).hint(hint)
}

fn text(report: &Report) -> String {
    table(&[
        ("board", report.board.clone()),
        ("firmware", report.firmware.clone()),
        ("installed by", report.installer.to_owned()),
    ])
}
