//! Ways to exchange bytes with a board.

mod in_process;
mod memory_flash;
mod process;
mod serial;
mod tcp;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

pub use in_process::InProcess;
pub use process::BoardProcess;
pub use serial::SerialLine;
pub use tcp::TcpLine;

/// A line to a board.
pub trait Transport: Send {
    /// Sends all bytes.
    ///
    /// # Errors
    /// If the line is closed.
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError>;

    /// Waits for bytes; `None` if none came in time.
    ///
    /// # Errors
    /// If the line is closed.
    fn receive(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, TransportError>;

    /// What is at the other end, for messages.
    fn describe(&self) -> String;
}

/// Why there is no line, or no more.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The emulator is not installed.
    #[error(
        "`{program}` is not installed: run `scripts/setup`, or install it with your package \
         manager (Debian and Ubuntu: `apt-get install {program}`, Fedora: `dnf install {program}`, \
         macOS: `brew install qemu`)"
    )]
    NoEmulator {
        /// The program.
        program: String,
    },
    /// A program cannot be started.
    #[error("cannot start `{program}`: {source}")]
    Start {
        /// The program.
        program: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The board cannot be emulated.
    #[error(
        "`{board}` cannot run on this computer: its `board.toml` has neither a section `qemu` nor \
         `process`"
    )]
    NotEmulated {
        /// The board.
        board: String,
    },
    /// A file or directory cannot be read or written.
    #[error(transparent)]
    State(#[from] std::io::Error),
    /// Another process uses the same emulated flash.
    #[error("the emulated flash `{path}` is in use by another process")]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// Nothing listens there.
    #[error("cannot connect to {address}: {source}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// There is no such serial port.
    #[error("there is no serial port `{port}`; {}", plugged_in(plugged))]
    NoPort {
        /// The port.
        port: String,
        /// Those that there are.
        plugged: Vec<String>,
    },
    /// The user may not use the port.
    #[error(
        "you may not use the serial port `{port}`: on Linux join the group that it belongs to \
         (`sudo usermod -a -G dialout $USER`; on Arch the group is uucp) and log in again"
    )]
    PortDenied {
        /// The port.
        port: String,
    },
    /// Somebody else uses the port.
    #[error("the serial port `{port}` is in use by another program")]
    PortBusy {
        /// The port.
        port: String,
    },
    /// The port does not work.
    #[error("cannot use the serial port `{port}`: {reason}")]
    Port {
        /// The port.
        port: String,
        /// The system's reason.
        reason: String,
    },
    /// The other end is gone.
    #[error("{what} stopped: {reason}")]
    Closed {
        /// The other end.
        what: String,
        /// Its last words.
        reason: String,
    },
}

fn plugged_in(ports: &[String]) -> String {
    match ports {
        [] => "none is plugged in".to_owned(),
        ports => format!("plugged in: {}", ports.join(", ")),
    }
}

/// Waits for the next bytes that a reading thread sends. `Err` if the thread has ended.
fn receive_bytes(
    receiver: &Receiver<Vec<u8>>,
    timeout: Duration,
) -> Result<Option<Vec<u8>>, Disconnected> {
    match receiver.recv_timeout(timeout) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => Err(Disconnected),
    }
}

struct Disconnected;
