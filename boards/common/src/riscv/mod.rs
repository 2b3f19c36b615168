//! RV32 in machine mode.
#![expect(unsafe_code, reason = "registers of the core, and the stack")]

mod fault;
mod interrupt;

use core::arch::asm;

pub use interrupt::Interrupt;
pub use riscv_rt::entry;

use crate::linker;
use crate::stack::PAINT;

/// Guards the stack, paints it, and lets faults be reported.
pub(crate) fn prepare() {
    fault::prepare();
    let stack = linker::stack();
    let now: *mut u32;
    // SAFETY: copies the stack pointer.
    unsafe { asm!("mv {}, sp", out(reg) now, options(nomem, nostack)) };
    let mut word = stack.start.cast_mut();
    while word < now {
        // SAFETY: the stack below its pointer, which nothing uses. Written with one instruction,
        // so that no called function's frame is painted over.
        unsafe { word.write_volatile(PAINT) };
        word = word.wrapping_add(1);
    }
}

/// Stands still: no board with such a core runs without the emulator, which has ended by now.
pub(crate) fn restart() -> ! {
    loop {
        riscv::asm::wfi();
    }
}

/// The core's own counter; with `-icount shift=0` one instruction is one cycle.
#[derive(Debug, Default)]
pub struct Instructions;

impl Instructions {
    /// Every place is as good as another one to start at.
    pub fn begin(&mut self) {}

    /// Instructions since the start.
    pub fn count(&mut self) -> u64 {
        riscv::register::mcycle::read64()
    }
}
