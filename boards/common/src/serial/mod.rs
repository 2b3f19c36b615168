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

impl<P> embedded_io::ErrorType for Serial<P> {
    type Error = Infallible;
}

impl<P: Port> embedded_io::Read for Serial<P> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Some((first, rest)) = buffer.split_first_mut() else {
            return Ok(0);
        };
        *first = self.wait();
        let mut count = 1;
        for place in rest {
            let Some(byte) = self.port.receive() else {
                break;
            };
            *place = byte;
            count += 1;
        }
        Ok(count)
    }
}

impl<P: Port> embedded_io::Write for Serial<P> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        bytes.iter().for_each(|&byte| self.port.send(byte));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        self.port.flush();
        Ok(())
    }
}
