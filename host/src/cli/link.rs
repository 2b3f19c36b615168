//! How the commands reach a board.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use lowbit_host::board::transport::{InProcess, QemuProcess, Transport};
use lowbit_host::board::{
    self, BoardSpec, Client, Error, FIRMWARE_DIRECTORY_VARIABLE, FirmwareError, Registry, Settings,
};

use super::Context;
use super::failure::{Failure, Outcome};

/// Where boards are described.
#[derive(Debug, Args)]
pub(crate) struct BoardsArguments {
    /// Directory of board descriptions to use instead of the built-in ones
    #[arg(long, value_name = "DIR", env = "LOWBIT_BOARDS_DIR")]
    boards_dir: Option<PathBuf>,
}

impl BoardsArguments {
    pub(crate) fn registry(&self) -> Result<Registry, Failure> {
        Ok(match &self.boards_dir {
            Some(directory) => Registry::read(directory)?,
            None => Registry::embedded()?,
        })
    }
}

/// Where built firmware is.
#[derive(Debug, Args)]
pub(crate) struct FirmwareArguments {
    /// Directory of built firmware [default: the repository's]
    #[arg(long, value_name = "DIR", env = FIRMWARE_DIRECTORY_VARIABLE)]
    firmware_dir: Option<PathBuf>,
}

impl FirmwareArguments {
    pub(crate) fn find(&self, board: &BoardSpec) -> Result<PathBuf, FirmwareError> {
        board::find_firmware(board, self.firmware_dir.as_deref())
    }
}

/// Which board, and how to reach it.
#[derive(Debug, Args)]
pub(crate) struct LinkArguments {
    /// Name of the board, see `lowbit boards`
    #[arg(long, value_name = "NAME")]
    board: String,
    #[command(flatten)]
    connection: ConnectionArguments,
}

impl LinkArguments {
    pub(crate) fn connect(&self, context: &Context) -> Result<Client, Failure> {
        self.connection.connect(context, &self.board)
    }
}

/// How to reach a board, and what it remembers.
#[derive(Debug, Args)]
pub(crate) struct ConnectionArguments {
    /// Directory in which emulated boards keep their flash [default: in the user's data directory]
    #[arg(long, value_name = "DIR", env = "LOWBIT_STATE_DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    firmware: FirmwareArguments,
    #[command(flatten)]
    boards: BoardsArguments,
}

impl ConnectionArguments {
    pub(crate) fn connect(&self, context: &Context, board: &str) -> Result<Client, Failure> {
        let registry = self.boards.registry()?;
        let board = registry.find(board)?;
        let state = match &self.state {
            Some(directory) => directory.clone(),
            None => board::default_state_directory().ok_or_else(|| {
                Failure::new("no home directory to keep the emulated board's flash in")
                    .hint("give a directory with --state DIR")
            })?,
        };
        let firmware = self.firmware.find(board)?;
        let transport = QemuProcess::start(board, &firmware, &state)?;
        greet(context, Box::new(transport))
    }
}

/// The same firmware service within this process, for a computer without the emulator.
pub(crate) fn connect_in_process(context: &Context, board: &BoardSpec) -> Result<Client, Failure> {
    greet(context, Box::new(InProcess::start(board)))
}

/// Performs the handshake.
pub(crate) fn greet(context: &Context, transport: Box<dyn Transport>) -> Result<Client, Failure> {
    let settings = Settings {
        interrupted: Some(Arc::clone(&context.stop)),
        ..Settings::default()
    };
    Client::connect(transport, settings).map_err(explain)
}

/// A model that does not fit is an answer, and so is Ctrl-C; everything else is a failure.
pub(crate) fn explain(error: Error) -> Failure {
    let outcome = match &error {
        Error::Interrupted => Some(Outcome::Interrupted),
        error if error.does_not_fit() => Some(Outcome::No),
        _ => None,
    };
    let other_model = matches!(error, Error::OtherModel { .. });
    let mut failure = Failure::from(error);
    if other_model {
        failure = failure.hint("write the model to the board with `lowbit flash`");
    }
    match outcome {
        Some(outcome) => failure.with_outcome(outcome),
        None => failure,
    }
}
