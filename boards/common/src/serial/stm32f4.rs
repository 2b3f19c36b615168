//! The USART of the STM32 series F1, F2, F4 and L1.
#![expect(unsafe_code, reason = "registers are fixed addresses")]

use super::Port;
use crate::register::Register;

/// Parity, framing, noise and overrun. Reading status, then data clears them.
const ERRORS: u32 = 0b1111;
const RECEIVED: u32 = 1 << 5;
const SENT: u32 = 1 << 6;
const ROOM_TO_SEND: u32 = 1 << 7;
const ENABLE_BOTH_WAYS: u32 = 1 << 2 | 1 << 3 | 1 << 13;
const RECEIVE_INTERRUPT_ENABLE: u32 = 1 << 5;

/// A USART of the older kind.
#[derive(Debug, Clone, Copy)]
pub struct Stm32F4 {
    status: Register<u32>,
    data: Register<u32>,
}

impl Stm32F4 {
    /// Opens the port at `base`, whose clock has `divider` periods per bit, at least 16.
    ///
    /// # Safety
    /// Such a port that nothing else uses must be at `base`, its clock be on and its pins be set.
    #[must_use]
    pub unsafe fn new(base: usize, divider: u32) -> Self {
        // SAFETY: the registers of a port at `base`.
        let register = |offset| unsafe { Register::<u32>::at(base + offset) };
        register(0x08).write(divider);
        register(0x0c).write(ENABLE_BOTH_WAYS | RECEIVE_INTERRUPT_ENABLE);
        Self {
            status: register(0x00),
            data: register(0x04),
        }
    }
}

impl Port for Stm32F4 {
    fn receive(&mut self) -> Option<u8> {
        let status = self.status.read();
        if status & (RECEIVED | ERRORS) == 0 {
            return None;
        }
        let byte = self.data.read() as u8;
        (status & RECEIVED != 0).then_some(byte)
    }

    /// [`receive`](Port::receive) takes back what interrupts.
    fn acknowledge(&mut self) {}

    fn send(&mut self, byte: u8) {
        while self.status.read() & ROOM_TO_SEND == 0 {}
        self.data.write(byte.into());
    }

    fn flush(&mut self) {
        while self.status.read() & SENT == 0 {}
    }
}
