//! Serial ports. The core sleeps while it waits for a byte.
//!
//! [`Serial`] reads the port itself and leaves there what comes meanwhile; [`Buffered`] lets an interrupt
//! take it from there at once.

#[cfg(target_arch = "arm")]
mod buffered;
mod cmsdk;
mod nrf51;
mod ns16550;
mod pl011;
mod stm32;
mod stm32f4;

use core::convert::Infallible;
use core::iter;

use crate::arch::Interrupt;

#[cfg(target_arch = "arm")]
pub use buffered::{Buffered, Inbox};
pub use cmsdk::Cmsdk;
pub use nrf51::Nrf51;
pub use ns16550::Ns16550;
pub use pl011::Pl011;
pub use stm32::Stm32;
pub use stm32f4::Stm32F4;

/// The registers of one kind of port. It interrupts when a byte comes.
pub trait Port {
    /// The next byte that has come.
    fn receive(&mut self) -> Option<u8>;
    /// Takes back the interrupt; a byte that comes afterwards interrupts again.
    fn acknowledge(&mut self);
    /// Sends a byte as soon as there is room.
    fn send(&mut self, byte: u8);
    /// Waits until all bytes are on their way.
    fn flush(&mut self);
}

/// A port and the interrupt that wakes up the core.
#[derive(Debug)]
pub struct Serial<P> {
    port: P,
    interrupt: Interrupt,
}

impl<P: Port> Serial<P> {
    /// Puts both together.
    pub fn new(port: P, interrupt: Interrupt) -> Self {
        Self { port, interrupt }
    }

    fn wait(&mut self) -> u8 {
        loop {
            if let Some(byte) = self.port.receive() {
                return byte;
            }
            // A byte that came since the check has left the interrupt pending: no sleep then.
            self.interrupt.wait();
            self.port.acknowledge();
            self.interrupt.clear();
        }
    }
}

/// Puts the first byte and those that are `next` into `buffer`, and says how many.
fn fill(buffer: &mut [u8], first: u8, next: impl FnMut() -> Option<u8>) -> usize {
    let bytes = iter::once(first).chain(iter::from_fn(next));
    // In this order no byte is taken that there is no place for.
    let places = buffer.iter_mut().zip(bytes);
    places.map(|(place, byte)| *place = byte).count()
}

fn send_all(port: &mut impl Port, bytes: &[u8]) -> usize {
    bytes.iter().for_each(|&byte| port.send(byte));
    bytes.len()
}

impl<P> embedded_io::ErrorType for Serial<P> {
    type Error = Infallible;
}

impl<P: Port> embedded_io::Read for Serial<P> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let first = self.wait();
        Ok(fill(buffer, first, || self.port.receive()))
    }
}

impl<P: Port> embedded_io::Write for Serial<P> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        Ok(send_all(&mut self.port, bytes))
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        self.port.flush();
        Ok(())
    }
}
