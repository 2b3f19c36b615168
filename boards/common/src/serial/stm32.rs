//! The USART of the STM32 series L4, F7, G4, H7 and their like.
#![expect(unsafe_code, reason = "registers are fixed addresses")]

use super::Port;
use crate::register::Register;

const RECEIVED: u32 = 1 << 5;
const SENT: u32 = 1 << 6;
const ROOM_TO_SEND: u32 = 1 << 7;
/// Parity, framing, noise and overrun. The last one stops reception until it is cleared.
const ERRORS: u32 = 0b1111;
const ENABLE_BOTH_WAYS: u32 = 1 << 0 | 1 << 2 | 1 << 3;
const RECEIVE_INTERRUPT_ENABLE: u32 = 1 << 5;

/// An STM32 USART.
#[derive(Debug, Clone, Copy)]
pub struct Stm32 {
    status: Register<u32>,
    clear: Register<u32>,
    receive_data: Register<u32>,
    send_data: Register<u32>,
}

impl Stm32 {
    /// Opens the port at `base`, whose clock has `divider` periods per bit, at least 16.
    ///
    /// # Safety
    /// Such a port that nothing else uses must be at `base`, its clock be on and its pins be set.
    #[must_use]
    pub unsafe fn new(base: usize, divider: u32) -> Self {
        // SAFETY: the registers of a port at `base`.
        let register = |offset| unsafe { Register::<u32>::at(base + offset) };
        register(0x0c).write(divider);
        register(0x00).write(ENABLE_BOTH_WAYS | RECEIVE_INTERRUPT_ENABLE);
        Self {
            status: register(0x1c),
            clear: register(0x20),
            receive_data: register(0x24),
            send_data: register(0x28),
        }
    }
}

impl Port for Stm32 {
    fn receive(&mut self) -> Option<u8> {
        let status = self.status.read();
        if status & ERRORS != 0 {
            self.clear.write(ERRORS);
        }
        (status & RECEIVED != 0).then(|| self.receive_data.read() as u8)
    }

    /// [`receive`](Port::receive) takes back what interrupts.
    fn acknowledge(&mut self) {}

    fn send(&mut self, byte: u8) {
        while self.status.read() & ROOM_TO_SEND == 0 {}
        self.send_data.write(byte.into());
    }

    fn flush(&mut self) {
        while self.status.read() & SENT == 0 {}
    }
}
