//! An interrupt that is never taken and only wakes up the core.

use riscv::register::{mie, mstatus};

use crate::register::Register;

/// The platform's interrupt controller (PLIC) on QEMU's `virt` machines.
const CONTROLLER: usize = 0x0c00_0000;
const CLAIM: usize = CONTROLLER + 0x20_0004;
const ENABLE: usize = CONTROLLER + 0x2000;

/// An interrupt of a peripheral.
#[derive(Debug)]
pub struct Interrupt {
    claim: Register<u32>,
}

impl Interrupt {
    /// Lets interrupt `number` wake up the core. Interrupts of the core are off from here on.
    ///
    /// # Safety
    /// The interrupt controller must be that of QEMU's `virt` machine, and nothing else use it.
    #[must_use]
    pub unsafe fn new(number: u16) -> Self {
        let number = usize::from(number);
        // SAFETY: the caller vouches for the controller.
        let register = |address| unsafe { Register::<u32>::at(address) };
        register(CONTROLLER + 4 * number).write(1);
        register(ENABLE + number / 32 * 4).write(1 << (number % 32));
        // SAFETY: an interrupt that is enabled here wakes up the core; none is taken.
        unsafe {
            mstatus::clear_mie();
            mie::set_mext();
        }
        Self {
            claim: register(CLAIM),
        }
    }

    /// Sleeps until it is pending.
    pub(crate) fn wait(&mut self) {
        riscv::asm::wfi();
    }

    /// It is no longer pending.
    pub(crate) fn clear(&mut self) {
        let number = self.claim.read();
        self.claim.write(number);
    }
}
