//! Peripherals of Arm's Cortex-M System Design Kit, as on the MPS2 and MPS3 boards.

#![expect(unsafe_code, reason = "registers are fixed addresses")]

mod timer;
mod uart;

pub use timer::Timer;
pub use uart::{Interrupt, Uart};

/// One 32-bit register.
#[derive(Debug, Clone, Copy)]
struct Register(*mut u32);

impl Register {
    const fn at(address: usize) -> Self {
        Self(address as *mut u32)
    }

    fn read(self) -> u32 {
        // SAFETY: whoever made the driver vouched for the address of the peripheral.
        unsafe { self.0.read_volatile() }
    }

    fn write(self, value: u32) {
        // SAFETY: whoever made the driver vouched for the address of the peripheral.
        unsafe { self.0.write_volatile(value) }
    }
}
