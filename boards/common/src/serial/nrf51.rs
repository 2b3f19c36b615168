//! The UART of the nRF51 and nRF52 series, without DMA.
#![expect(unsafe_code, reason = "registers are fixed addresses")]

use super::Port;
use crate::register::Register;

const START: u32 = 1;
const ENABLE: u32 = 4;
const RECEIVED: u32 = 1 << 2;

/// Such a UART.
#[derive(Debug, Clone, Copy)]
pub struct Nrf51 {
    received: Register<u32>,
    sent: Register<u32>,
    receive_data: Register<u32>,
    send_data: Register<u32>,
}

impl Nrf51 {
    /// Opens the port at `base`. Its pins and its speed stay as they are.
    ///
    /// # Safety
    /// Such a port that nothing else uses must be at `base`.
    #[must_use]
    pub unsafe fn new(base: usize) -> Self {
        // SAFETY: the registers of a port at `base`.
        let register = |offset| unsafe { Register::<u32>::at(base + offset) };
        register(0x500).write(ENABLE);
        register(0x304).write(RECEIVED);
        register(0x000).write(START);
        register(0x008).write(START);
        Self {
            received: register(0x108),
            sent: register(0x11c),
            receive_data: register(0x518),
            send_data: register(0x51c),
        }
    }
}

impl Port for Nrf51 {
    fn receive(&mut self) -> Option<u8> {
        if self.received.read() == 0 {
            return None;
        }
        // If there are more, reading sets it again.
        self.received.write(0);
        Some(self.receive_data.read() as u8)
    }

    /// The event of a received byte is what interrupts, and [`receive`](Port::receive) clears it.
    fn acknowledge(&mut self) {}

    fn send(&mut self, byte: u8) {
        self.sent.write(0);
        self.send_data.write(byte.into());
        while self.sent.read() == 0 {}
    }

    fn flush(&mut self) {}
}
