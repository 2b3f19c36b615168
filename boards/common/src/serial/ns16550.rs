//! The NS16550 UART, as on QEMU's `virt` machines.
#![expect(unsafe_code, reason = "registers are fixed addresses")]

use super::Port;
use crate::register::Register;

const RECEIVE_INTERRUPT_ENABLE: u8 = 1 << 0;
/// With an interrupt for every byte.
const FIFO_ENABLE: u8 = 1 << 0;
const EIGHT_BITS: u8 = 0b11;
const DATA_READY: u8 = 1 << 0;
const TRANSMIT_EMPTY: u8 = 1 << 5;

/// An NS16550.
#[derive(Debug)]
pub struct Ns16550 {
    data: Register<u8>,
    line_status: Register<u8>,
}

impl Ns16550 {
    /// Opens the port at `base`, whose registers are one byte apart.
    ///
    /// # Safety
    /// Such a port that nothing else uses must be at `base`.
    #[must_use]
    pub unsafe fn new(base: usize) -> Self {
        // SAFETY: the registers of a port at `base`.
        let register = |offset| unsafe { Register::<u8>::at(base + offset) };
        register(2).write(FIFO_ENABLE);
        register(3).write(EIGHT_BITS);
        register(1).write(RECEIVE_INTERRUPT_ENABLE);
        Self {
            data: register(0),
            line_status: register(5),
        }
    }
}

impl Port for Ns16550 {
    fn receive(&mut self) -> Option<u8> {
        let there = self.line_status.read() & DATA_READY != 0;
        there.then(|| self.data.read())
    }

    /// Reading the bytes takes back the interrupt.
    fn acknowledge(&mut self) {}

    fn send(&mut self, byte: u8) {
        self.flush();
        self.data.write(byte);
    }

    fn flush(&mut self) {
        while self.line_status.read() & TRANSMIT_EMPTY == 0 {}
    }
}
