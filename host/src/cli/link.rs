//! How the commands reach a board.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use lowbit_host::board::ports;
use lowbit_host::board::transport::{BoardProcess, InProcess, SerialLine, TcpLine, Transport};
use lowbit_host::board::{
    self, BoardSpec, Cause, Client, Error, FIRMWARE_DIRECTORY_VARIABLE, FirmwareError, Registry,
    Settings,
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

    /// What is known about the board.
    pub(crate) fn board(&self) -> Result<BoardSpec, Failure> {
        let registry = self.connection.boards.registry()?;
        Ok(registry.find(&self.board)?.clone())
    }

    /// Its firmware.
    pub(crate) fn firmware(&self, board: &BoardSpec) -> Result<PathBuf, FirmwareError> {
        self.connection.firmware.find(board)
    }

    /// The serial port that the user names.
    pub(crate) fn port(&self) -> Option<&str> {
        self.connection.port.as_deref()
    }
}

/// How to reach a board, and what it remembers.
#[derive(Debug, Args)]
pub(crate) struct ConnectionArguments {
    /// Serial port of the real board, as /dev/ttyACM0 or COM3 [default: emulate the board, or the
    /// port that it is plugged into]
    #[arg(long, value_name = "PORT", env = "LOWBIT_PORT")]
    port: Option<String>,
    /// Where the board answers on the network, tcp:HOST:PORT
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "LOWBIT_CONNECT",
        conflicts_with = "port",
        value_parser = tcp_address
    )]
    connect: Option<String>,
    /// Bits per second on the serial port [default: as the board's firmware]
    #[arg(long, value_name = "N")]
    baud: Option<u32>,
    /// Directory in which emulated boards keep their flash [default: in the user's data directory]
    #[arg(long, value_name = "DIR", env = "LOWBIT_STATE_DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    firmware: FirmwareArguments,
    #[command(flatten)]
    boards: BoardsArguments,
}

impl ConnectionArguments {
    /// The boards that are known.
    pub(crate) fn registry(&self) -> Result<Registry, Failure> {
        self.boards.registry()
    }

    /// Whether the flags lead to a single board.
    pub(crate) fn is_for_one_board(&self) -> bool {
        self.port.is_some() || self.connect.is_some()
    }

    /// Whether the board can be emulated now, or may be plugged in.
    pub(crate) fn is_within_reach(&self, board: &BoardSpec) -> bool {
        if board.qemu.is_some() || board.process.is_some() {
            return self.firmware.find(board).is_ok();
        }
        ports::list().iter().any(|port| board.may_be_on(port))
    }

    pub(crate) fn connect(&self, context: &Context, board: &str) -> Result<Client, Failure> {
        let registry = self.registry()?;
        let board = registry.find(board)?;
        if let Some(address) = &self.connect {
            return greet_as(context, Box::new(TcpLine::connect(address)?), board);
        }
        match &self.port {
            Some(port) => self.open(context, board, port),
            None if board.qemu.is_some() || board.process.is_some() => {
                greet(context, Box::new(self.start(board)?))
            }
            None => self.open(context, board, &only_port(board)?),
        }
    }

    fn start(&self, board: &BoardSpec) -> Result<BoardProcess, Failure> {
        let state = match &self.state {
            Some(directory) => directory.clone(),
            None => board::default_state_directory().ok_or_else(|| {
                Failure::new("no home directory to keep the board's flash in")
                    .hint("give a directory with --state DIR")
            })?,
        };
        let firmware = self.firmware.find(board)?;
        Ok(BoardProcess::start(board, &firmware, &state)?)
    }

    fn open(&self, context: &Context, board: &BoardSpec, port: &str) -> Result<Client, Failure> {
        let described = board.serial.as_ref().map(|serial| serial.baud);
        let baud = self.baud.or(described).ok_or_else(|| {
            Failure::new(format!(
                "`{}` has no serial port in its `board.toml`",
                board.name
            ))
            .hint("give its speed with --baud N")
        })?;
        greet_as(context, Box::new(SerialLine::open(port, baud)?), board)
    }
}

/// `HOST:PORT` of `tcp:HOST:PORT`.
fn tcp_address(text: &str) -> Result<String, String> {
    let address = text
        .strip_prefix("tcp:")
        .filter(|address| address.contains(':'));
    address
        .map(str::to_owned)
        .ok_or_else(|| "not of the form tcp:HOST:PORT".to_owned())
}

/// Performs the handshake with what must be `board`.
fn greet_as(
    context: &Context,
    transport: Box<dyn Transport>,
    board: &BoardSpec,
) -> Result<Client, Failure> {
    let line = transport.describe();
    let client = greet(context, transport)?;
    let found = &client.greeting().board;
    if *found != board.name {
        let message = format!("{line} is `{found}`, not `{}`", board.name);
        return Err(Failure::new(message).hint(format!("use --board {found}")));
    }
    Ok(client)
}

/// The serial port that the board may be on, if there is only one.
fn only_port(board: &BoardSpec) -> Result<String, Failure> {
    let mut ports = ports::list();
    ports.retain(|port| board.may_be_on(port));
    let names: Vec<_> = ports.into_iter().map(|port| port.name).collect();
    match names.as_slice() {
        [name] => Ok(name.clone()),
        [] => Err(Failure::new(format!("no `{}` is plugged in", board.name))
            .hint("`lowbit boards` lists the serial ports; --port PORT takes another one")),
        several => Err(Failure::new(format!(
            "`{}` may be on any of {}",
            board.name,
            several.join(", ")
        ))
        .hint("choose one with --port PORT")),
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

fn advice(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::OtherModel { .. } => "write the model to the board with `lowbit flash`",
        Error::Refused { cause, .. } => match cause {
            Cause::Unsigned => {
                "sign the model: `lowbit pack RUN --sign KEY --out MODEL`, see docs/signing.md"
            }
            Cause::Signature => {
                "sign the model with the key whose public half the firmware was built with; \
                 `lowbit inspect MODEL --key PUBLIC` verifies a signature"
            }
            Cause::Downgrade => "pack the model with a higher --model-version",
            _ => return None,
        },
        _ => return None,
    })
}

/// A model that does not fit is an answer, and so is Ctrl-C; everything else is a failure.
pub(crate) fn explain(error: Error) -> Failure {
    let outcome = match &error {
        Error::Interrupted => Some(Outcome::Interrupted),
        error if error.does_not_fit() => Some(Outcome::No),
        _ => None,
    };
    let hint = advice(&error);
    let mut failure = Failure::from(error);
    if let Some(hint) = hint {
        failure = failure.hint(hint);
    }
    match outcome {
        Some(outcome) => failure.with_outcome(outcome),
        None => failure,
    }
}
