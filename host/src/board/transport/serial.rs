//! A board on a serial port.

use std::io::{self, Read, Write};
use std::time::Duration;

use serialport::{ClearBuffer, ErrorKind, SerialPort};

use crate::board::ports;

use super::{Transport, TransportError};

/// How long a port may take to accept what is sent.
const SEND_TIME: Duration = Duration::from_secs(5);
/// A shorter wait would be none.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// An open serial port.
pub struct SerialLine {
    name: String,
    port: Box<dyn SerialPort>,
}

impl std::fmt::Debug for SerialLine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("SerialLine");
        shown.field("name", &self.name).finish_non_exhaustive()
    }
}

impl SerialLine {
    /// Opens the port called `name` (`/dev/ttyACM0`, `COM3`) at `baud` bits per second, for this
    /// process alone.
    ///
    /// # Errors
    /// If there is no such port, or it may not or cannot be used.
    pub fn open(name: &str, baud: u32) -> Result<Self, TransportError> {
        let opened = serialport::new(name, baud).timeout(SEND_TIME).open();
        let port = opened.map_err(|error| open_error(name, error))?;
        // Whatever an earlier conversation has left there.
        let cleared = port.clear(ClearBuffer::All);
        cleared.map_err(|error| open_error(name, error))?;
        Ok(Self {
            name: name.to_owned(),
            port,
        })
    }

    fn closed(&self, error: &io::Error) -> TransportError {
        TransportError::Closed {
            what: self.describe(),
            reason: error.to_string(),
        }
    }

    fn wait(&mut self, timeout: Duration) -> Result<(), TransportError> {
        let set = self.port.set_timeout(timeout.max(SHORTEST_WAIT));
        set.map_err(|error| self.closed(&error.into()))
    }
}

impl Transport for SerialLine {
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.wait(SEND_TIME)?;
        let sent = self.port.write_all(bytes);
        sent.map_err(|error| self.closed(&error))
    }

    fn receive(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, TransportError> {
        self.wait(timeout)?;
        let mut bytes = vec![0; 4096];
        match self.port.read(&mut bytes) {
            Ok(0) => Err(self.closed(&io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => {
                bytes.truncate(count);
                Ok(Some(bytes))
            }
            Err(error) => match error.kind() {
                io::ErrorKind::TimedOut
                | io::ErrorKind::WouldBlock
                | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(self.closed(&error)),
            },
        }
    }

    fn describe(&self) -> String {
        format!("the board on `{}`", self.name)
    }
}

fn open_error(name: &str, error: serialport::Error) -> TransportError {
    let port = name.to_owned();
    match error.kind() {
        ErrorKind::Io(io::ErrorKind::NotFound) => TransportError::NoPort {
            port,
            plugged: ports::list().into_iter().map(|port| port.name).collect(),
        },
        ErrorKind::Io(io::ErrorKind::PermissionDenied) => TransportError::PortDenied { port },
        ErrorKind::NoDevice => TransportError::PortBusy { port },
        _ => TransportError::Port {
            port,
            reason: error.to_string(),
        },
    }
}
