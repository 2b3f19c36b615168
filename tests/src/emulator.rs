//! Emulated boards for tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use lowbit_host::board::transport::QemuProcess;
use lowbit_host::board::{BoardSpec, Client, Registry, Settings};

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
        match Self::prepare(board) {
            Ok(emulator) => Some(emulator),
            Err(reason) if std::env::var_os("CI").is_some() => panic!("{test}: {reason}"),
            Err(reason) => {
                crate::skip(test, &reason);
                None
            }
        }
    }

    fn prepare(name: &str) -> Result<Self, String> {
        let registry = Registry::embedded().map_err(|error| error.to_string())?;
        let board = registry
            .find(name)
            .map_err(|error| error.to_string())?
            .clone();
        let qemu = board.qemu.as_ref().ok_or("it cannot be emulated")?;
        let found = Command::new(&qemu.program).arg("--version").output();
        found.map_err(|error| format!("`{}`: {error}", qemu.program))?;
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
    pub fn start(&self) -> QemuProcess {
        QemuProcess::start(&self.board, &self.firmware, self.state()).expect("starts")
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

/// Builds the firmware, once per process.
fn build_firmware(board: &str) -> Result<PathBuf, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(|| run_build(board)).clone()
}

fn run_build(board: &str) -> Result<PathBuf, String> {
    let script = crate::repository().join("scripts/build-firmware");
    let output = Command::new(script).arg(board).output();
    let output = output.map_err(|error| format!("cannot build the firmware: {error}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cannot build the firmware: {words}"));
    }
    Ok(PathBuf::from(
        String::from_utf8_lossy(&output.stdout).trim(),
    ))
}
