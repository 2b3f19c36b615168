//! Puts firmware onto a board, the way that its `board.toml` names.

mod drive;
mod uf2;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde::Deserialize;

use super::Region;

pub use drive::DriveError;
pub use uf2::Uf2Error;

/// The program that works through a debugger.
pub const PROBE_RS: &str = "probe-rs";
/// The program that works through a serial port.
pub const ESPFLASH: &str = "espflash";

/// How firmware gets onto a board.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Installer {
    /// With the program `probe-rs`, through a debugger.
    ProbeRs {
        /// Its name for the chip.
        chip: String,
    },
    /// With the program `espflash`, through the serial port.
    Espflash {
        /// Its name for the chip.
        chip: String,
    },
    /// Onto the drive that the board shows in its boot mode.
    #[serde(rename_all = "kebab-case")]
    Uf2 {
        /// `Board-ID` in the drive's `INFO_UF2.TXT`.
        board_id: String,
        /// Family of the chip.
        family: u32,
    },
}

/// What is to be installed, and where.
#[derive(Debug, Clone, Copy)]
pub struct Installation<'a> {
    /// The ELF file.
    pub firmware: &'a Path,
    /// The memory that it may lie in; `None` for any.
    pub region: Option<Region>,
    /// Serial port of the board, if the user names one.
    pub port: Option<&'a str>,
    /// Drive of the board, if the user names one.
    pub drive: Option<&'a Path>,
}

/// Why firmware could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A program is missing.
    #[error("`{program}` is not installed")]
    NoProgram {
        /// Its name.
        program: &'static str,
    },
    /// A program cannot be started.
    #[error("cannot start `{program}`")]
    Start {
        /// Its name.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program gave up, and has said why.
    #[error("`{program} {action}` failed ({status})")]
    Failed {
        /// Its name.
        program: &'static str,
        /// What it was to do.
        action: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The firmware is no program for that board.
    #[error("`{}`: {source}", path.display())]
    Firmware {
        /// The ELF file.
        path: PathBuf,
        /// What is wrong.
        source: Uf2Error,
    },
    /// The firmware cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// There is no such drive, or it cannot be written.
    #[error(transparent)]
    Drive(#[from] DriveError),
}

impl Installer {
    /// The program or the way, for people.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::ProbeRs { .. } => PROBE_RS,
            Self::Espflash { .. } => ESPFLASH,
            Self::Uf2 { .. } => "UF2 drive",
        }
    }

    /// Puts the firmware onto the board and starts it. What programs say goes to standard error.
    ///
    /// # Errors
    /// If a program or drive is missing or fails, or the firmware is no ELF file for that board.
    pub fn install(&self, installation: Installation<'_>) -> Result<(), InstallError> {
        let firmware = installation.firmware;
        match self {
            Self::ProbeRs { chip } => {
                let common = ["--non-interactive", "--chip", chip].map(OsStr::new);
                let download = [
                    &[OsStr::new("download")],
                    &common[..],
                    &[firmware.as_os_str()],
                ];
                run(PROBE_RS, &download.concat())?;
                run(PROBE_RS, &[&[OsStr::new("reset")], &common[..]].concat())
            }
            Self::Espflash { chip } => {
                let common = ["flash", "--non-interactive", "--chip", chip].map(OsStr::new);
                let port = installation
                    .port
                    .map(|port| ["--port", port].map(OsStr::new));
                let port = port.as_ref().map(<[_; 2]>::as_slice).unwrap_or_default();
                run(ESPFLASH, &[&common, port, &[firmware.as_os_str()]].concat())
            }
            Self::Uf2 { board_id, family } => {
                let elf = fs_err::read(firmware)?;
                let blocks =
                    uf2::convert(&elf, *family, installation.region).map_err(|source| {
                        let path = firmware.to_owned();
                        InstallError::Firmware { path, source }
                    })?;
                Ok(drive::copy(&blocks, board_id, installation.drive)?)
            }
        }
    }
}

/// How to get a program that installs firmware.
#[must_use]
pub fn how_to_get(program: &str) -> &'static str {
    match program {
        PROBE_RS => {
            "cargo install probe-rs-tools --locked, or see https://probe.rs/docs/getting-started"
        }
        _ => "cargo install espflash --locked, or see https://github.com/esp-rs/espflash",
    }
}

/// Runs a program to its end. Its standard output is talk, too.
fn run(program: &'static str, arguments: &[&OsStr]) -> Result<(), InstallError> {
    tracing::info!(program, ?arguments, "starting");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(io::stderr());
    let status = command.status().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => InstallError::NoProgram { program },
        _ => InstallError::Start { program, source },
    })?;
    if status.success() {
        return Ok(());
    }
    let action = arguments.first().map(|action| action.display().to_string());
    Err(InstallError::Failed {
        program,
        action: action.unwrap_or_default(),
        status,
    })
}
