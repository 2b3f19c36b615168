//! A board behind a TCP connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::{Transport, TransportError};

/// How long the other computer may take to accept the connection, or what is sent.
const PATIENCE: Duration = Duration::from_secs(5);
/// A shorter wait would be none.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// An open connection.
#[derive(Debug)]
pub struct TcpLine {
    address: String,
    stream: TcpStream,
}

impl TcpLine {
    /// Connects to `address`, `HOST:PORT`.
    ///
    /// # Errors
    /// If nothing listens there.
    pub fn connect(address: &str) -> Result<Self, TransportError> {
        let unreachable = |source| TransportError::Unreachable {
            address: address.to_owned(),
            source,
        };
        let mut failure = ErrorKind::AddrNotAvailable.into();
        for socket in address.to_socket_addrs().map_err(unreachable)? {
            let connected = TcpStream::connect_timeout(&socket, PATIENCE).and_then(|stream| {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(stream)
            });
            match connected {
                Ok(stream) => {
                    let address = address.to_owned();
                    return Ok(Self { address, stream });
                }
                Err(error) => failure = error,
            }
        }
        Err(unreachable(failure))
    }

    fn closed(&self, reason: impl ToString) -> TransportError {
        TransportError::Closed {
            what: self.describe(),
            reason: reason.to_string(),
        }
    }
}

impl Transport for TcpLine {
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        let sent = self.stream.write_all(bytes);
        sent.map_err(|error| self.closed(error))
    }

    fn receive(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, TransportError> {
        let set = self
            .stream
            .set_read_timeout(Some(timeout.max(SHORTEST_WAIT)));
        set.map_err(|error| self.closed(error))?;
        let mut bytes = vec![0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(self.closed("it closed the connection")),
            Ok(count) => {
                bytes.truncate(count);
                Ok(Some(bytes))
            }
            Err(error) => match error.kind() {
                ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(None),
                _ => Err(self.closed(error)),
            },
        }
    }

    fn describe(&self) -> String {
        format!("the board at {}", self.address)
    }
}
