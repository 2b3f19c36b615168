//! Arm's PL011 UART, as in the Stellaris controllers and the RP2350.
#![expect(unsafe_code, reason = "registers are fixed addresses")]

use super::Port;
use crate::register::Register;

const RECEIVE_EMPTY: u32 = 1 << 4;
const TRANSMIT_FULL: u32 = 1 << 5;
const BUSY: u32 = 1 << 3;
const EIGHT_BITS_WITH_FIFO: u32 = 0b111 << 4;
const ENABLE_BOTH_WAYS: u32 = 1 << 0 | 1 << 8 | 1 << 9;
/// A byte has come, or the last one has waited for some time.
const RECEIVE_INTERRUPTS: u32 = 1 << 4 | 1 << 6;

/// A PL011.
#[derive(Debug, Clone, Copy)]
pub struct Pl011 {
    data: Register<u32>,
    flags: Register<u32>,
    interrupt_clear: Register<u32>,
}

impl Pl011 {
    /// Opens the port at `base`. Its speed stays as it is.
    ///
    /// # Safety
    /// Such a port that nothing else uses must be at `base`.
    #[must_use]
    pub unsafe fn new(base: usize) -> Self {
        // SAFETY: the registers of a port at `base`.
        let register = |offset| unsafe { Register::<u32>::at(base + offset) };
        register(0x2c).write(EIGHT_BITS_WITH_FIFO);
        register(0x38).write(RECEIVE_INTERRUPTS);
        register(0x30).write(ENABLE_BOTH_WAYS);
        Self {
            data: register(0x0),
            flags: register(0x18),
            interrupt_clear: register(0x44),
        }
    }
}

impl Port for Pl011 {
    fn receive(&mut self) -> Option<u8> {
        let there = self.flags.read() & RECEIVE_EMPTY == 0;
        there.then(|| self.data.read() as u8)
    }

    fn acknowledge(&mut self) {
        self.interrupt_clear.write(RECEIVE_INTERRUPTS);
    }

    fn send(&mut self, byte: u8) {
        while self.flags.read() & TRANSMIT_FULL != 0 {}
        self.data.write(byte.into());
    }

    fn flush(&mut self) {
        while self.flags.read() & BUSY != 0 {}
    }
}
