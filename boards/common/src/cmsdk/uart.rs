//! The serial port.

use core::convert::Infallible;

use cortex_m::{asm, interrupt::InterruptNumber, peripheral::NVIC};

use super::Register;

const TRANSMIT_FULL: u32 = 1 << 0;
const RECEIVE_FULL: u32 = 1 << 1;
const TRANSMIT_ENABLE: u32 = 1 << 0;
const RECEIVE_ENABLE: u32 = 1 << 1;
const RECEIVE_INTERRUPT_ENABLE: u32 = 1 << 3;
const RECEIVE_INTERRUPT: u32 = 1 << 1;

/// Number of a peripheral's interrupt.
#[derive(Debug, Clone, Copy)]
pub struct Interrupt(pub u16);

// SAFETY: the number never changes.
unsafe impl InterruptNumber for Interrupt {
    fn number(self) -> u16 {
        self.0
    }
}

/// A serial port. The core sleeps while it waits for a byte.
#[derive(Debug)]
pub struct Uart {
    data: Register,
    state: Register,
    interrupt_status: Register,
    receive: Interrupt,
}

impl Uart {
    /// Opens the port at `base` with the clock divided by `divider` (at least 16).
    ///
    /// Interrupts of the core are off from here on; the port's own one serves to wake it up.
    ///
    /// # Safety
    /// A CMSDK UART that nothing else uses, with receive interrupt `receive`, must be at `base`.
    pub unsafe fn new(base: usize, divider: u32, receive: Interrupt) -> Self {
        let control = Register::at(base + 0x8);
        Register::at(base + 0x10).write(divider);
        control.write(TRANSMIT_ENABLE | RECEIVE_ENABLE | RECEIVE_INTERRUPT_ENABLE);
        cortex_m::interrupt::disable();
        // SAFETY: interrupts are off, so that no handler can run.
        unsafe { NVIC::unmask(receive) };
        Self {
            data: Register::at(base),
            state: Register::at(base + 0x4),
            interrupt_status: Register::at(base + 0xc),
            receive,
        }
    }

    fn wait_for_byte(&mut self) {
        while self.state.read() & RECEIVE_FULL == 0 {
            // A byte that came since the check has left the interrupt pending: no sleep then.
            asm::wfi();
            self.interrupt_status.write(RECEIVE_INTERRUPT);
            NVIC::unpend(self.receive);
        }
    }
}

impl embedded_io::ErrorType for Uart {
    type Error = Infallible;
}

impl embedded_io::Read for Uart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.wait_for_byte();
        let mut count = 0;
        for place in buffer {
            if self.state.read() & RECEIVE_FULL == 0 {
                break;
            }
            *place = self.data.read() as u8;
            count += 1;
        }
        Ok(count)
    }
}

impl embedded_io::Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for &byte in bytes {
            while self.state.read() & TRANSMIT_FULL != 0 {}
            self.data.write(byte.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        while self.state.read() & TRANSMIT_FULL != 0 {}
        Ok(())
    }
}
