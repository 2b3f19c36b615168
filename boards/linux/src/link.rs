//! The line to the host.

use std::io::{self, Stdin, Stdout};
use std::net::TcpStream;
use std::time::Duration;

use embedded_io::{ErrorType, Read, Write};
use embedded_io_adapters::std::FromStd;
use socket2::{SockRef, TcpKeepalive};

/// After so long without a sign of life the host is asked for one, and again at such intervals.
const KEEPALIVE: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(5)];

/// Standard input and output.
pub(crate) struct StandardStreams {
    input: FromStd<Stdin>,
    output: FromStd<Stdout>,
}

impl StandardStreams {
    pub(crate) fn new() -> Self {
        Self {
            input: FromStd::new(io::stdin()),
            output: FromStd::new(io::stdout()),
        }
    }
}

impl ErrorType for StandardStreams {
    type Error = io::Error;
}

impl Read for StandardStreams {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.input.read(bytes)
    }
}

impl Write for StandardStreams {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// A connection that is given up when the host is gone without a word.
pub(crate) fn over_tcp(stream: TcpStream) -> io::Result<FromStd<TcpStream>> {
    stream.set_nodelay(true)?;
    let [idle, interval] = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(FromStd::new(stream))
}
