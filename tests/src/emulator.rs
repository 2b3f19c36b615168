//! Emulated boards for tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use lowbit_host::board::transport::BoardProcess;
use lowbit_host::board::{BoardSpec, Client, Registry, Settings};
#[cfg(unix)]
use rustix::io::Errno;
#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process};

/// A board with its firmware, and a directory for its flash.
#[derive(Debug)]
pub struct Emulator {
    /// The board.
    pub board: BoardSpec,
    firmware: PathBuf,
    state: tempfile::TempDir,
}

impl Emulator {
    /// An emulator with empty flash; `None`, with a line that says so, if this machine has no QEMU
    /// or cannot build the firmware. Where `CI` is set that is a failure.
    #[must_use]
    pub fn new(test: &str, board: &str) -> Option<Self> {
        or_skip(test, Self::prepare(board))
    }

    fn prepare(name: &str) -> Result<Self, String> {
        let registry = Registry::embedded().map_err(|error| error.to_string())?;
        let board = registry
            .find(name)
            .map_err(|error| error.to_string())?
            .clone();
        if let Some(qemu) = &board.qemu {
            let found = Command::new(&qemu.program).arg("--version").output();
            found.map_err(|error| format!("`{}`: {error}", qemu.program))?;
        }
        Ok(Self {
            firmware: build_firmware(name)?,
            state: tempfile::tempdir().map_err(|error| error.to_string())?,
            board,
        })
    }

    /// Where the flash is kept.
    #[must_use]
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// Starts the board.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(&self) -> BoardProcess {
        BoardProcess::start(&self.board, &self.firmware, self.state()).expect("starts")
    }

    /// Starts the board and asks it what it is.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn connect(&self) -> Client {
        Client::connect(Box::new(self.start()), Settings::default()).expect("answers")
    }
}

/// Sends a signal to a process at once: to start a program that does takes as long as some of the
/// moments that tests aim at. A process that has ended is left alone.
///
/// # Panics
/// If it belongs to somebody else.
#[cfg(unix)]
pub fn signal(process: u32, signal: Signal) {
    let process = Pid::from_raw(process as i32).expect("a process has a number");
    let sent = kill_process(process, signal);
    assert!(matches!(sent, Ok(()) | Err(Errno::SRCH)), "{sent:?}");
}

/// What a test needs; without it, a line says so. Where `CI` is set that is a failure.
fn or_skip<T>(test: &str, needed: Result<T, String>) -> Option<T> {
    match needed {
        Ok(needed) => Some(needed),
        Err(reason) if std::env::var_os("CI").is_some() => panic!("{test}: {reason}"),
        Err(reason) => {
            crate::skip(test, &reason);
            None
        }
    }
}

/// The firmware of a board; `None`, with a line that says so, if this machine cannot build it.
/// Where `CI` is set that is a failure.
#[must_use]
pub fn built_firmware(test: &str, board: &str) -> Option<PathBuf> {
    or_skip(test, build_firmware(board))
}

/// Builds the firmware of a board, once per process.
fn build_firmware(board: &str) -> Result<PathBuf, String> {
    static BUILT: Mutex<BTreeMap<String, Result<PathBuf, String>>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let firmware = built.entry(board.to_owned());
    firmware.or_insert_with(|| run_build(&[board])).clone()
}

/// `scripts/build-firmware`, without arguments.
#[must_use]
pub fn build_script() -> Command {
    Command::new(crate::repository().join("scripts/build-firmware"))
}

/// Runs `scripts/build-firmware`; returns the path of the firmware.
///
/// # Errors
/// The script's words if it fails.
pub fn run_build(arguments: &[&str]) -> Result<PathBuf, String> {
    let output = build_script().args(arguments).output();
    let output = output.map_err(|error| format!("cannot build the firmware: {error}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cannot build the firmware: {words}"));
    }
    Ok(PathBuf::from(
        String::from_utf8_lossy(&output.stdout).trim(),
    ))
}
