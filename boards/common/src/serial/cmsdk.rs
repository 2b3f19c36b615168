//! The UART of Arm's Cortex-M System Design Kit, as on the MPS2 boards.
#![expect(unsafe_code, reason = "registers are fixed addresses")]

use super::Port;
use crate::register::Register;

const TRANSMIT_FULL: u32 = 1 << 0;
const RECEIVE_FULL: u32 = 1 << 1;
const TRANSMIT_ENABLE: u32 = 1 << 0;
const RECEIVE_ENABLE: u32 = 1 << 1;
const RECEIVE_INTERRUPT_ENABLE: u32 = 1 << 3;
const RECEIVE_INTERRUPT: u32 = 1 << 1;
/// The fastest that the port can.
const DIVIDER: u32 = 16;

/// A CMSDK UART.
#[derive(Debug)]
pub struct Cmsdk {
    data: Register<u32>,
    state: Register<u32>,
    interrupt_status: Register<u32>,
}

impl Cmsdk {
    /// Opens the port at `base`.
    ///
    /// # Safety
    /// Such a port that nothing else uses must be at `base`.
    #[must_use]
    pub unsafe fn new(base: usize) -> Self {
        // SAFETY: the registers of a port at `base`.
        let register = |offset| unsafe { Register::<u32>::at(base + offset) };
        register(0x10).write(DIVIDER);
        register(0x8).write(TRANSMIT_ENABLE | RECEIVE_ENABLE | RECEIVE_INTERRUPT_ENABLE);
        Self {
            data: register(0x0),
            state: register(0x4),
            interrupt_status: register(0xc),
        }
    }
}

impl Port for Cmsdk {
    fn receive(&mut self) -> Option<u8> {
        let there = self.state.read() & RECEIVE_FULL != 0;
        there.then(|| self.data.read() as u8)
    }

    fn acknowledge(&mut self) {
        self.interrupt_status.write(RECEIVE_INTERRUPT);
    }

    fn send(&mut self, byte: u8) {
        self.flush();
        self.data.write(byte.into());
    }

    fn flush(&mut self) {
        while self.state.read() & TRANSMIT_FULL != 0 {}
    }
}
