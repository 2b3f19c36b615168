//! Interrupts of peripherals: one that is never taken and only wakes up the core, and one that is.
#![expect(unsafe_code, reason = "the interrupt controller")]

use cortex_m::interrupt::InterruptNumber;
use cortex_m::{asm, peripheral::NVIC};

#[derive(Debug, Clone, Copy)]
struct Number(u16);

// SAFETY: the number never changes.
unsafe impl InterruptNumber for Number {
    fn number(self) -> u16 {
        self.0
    }
}

/// An interrupt of a peripheral.
#[derive(Debug)]
pub struct Interrupt(Number);

impl Interrupt {
    /// Lets the interrupt wake up the core. Interrupts of the core are off from here on.
    #[must_use]
    pub fn new(number: u16) -> Self {
        cortex_m::interrupt::disable();
        // SAFETY: interrupts are off, so that no handler can run.
        unsafe { NVIC::unmask(Number(number)) };
        Self(Number(number))
    }

    /// Lets the handler of interrupt `number` run from here on.
    pub(crate) fn run_handler(number: u16) {
        // SAFETY: what a handler shares with the rest is behind a mutex.
        unsafe {
            NVIC::unmask(Number(number));
            cortex_m::interrupt::enable();
        }
    }

    /// Sleeps until it is pending.
    pub(crate) fn wait(&mut self) {
        asm::wfi();
    }

    /// It is no longer pending.
    pub(crate) fn clear(&mut self) {
        NVIC::unpend(self.0);
    }
}
