//! RV32 in machine mode.
#![expect(unsafe_code, reason = "registers of the core, and the stack")]

#[cfg(any(feature = "emulation", feature = "rp2350"))]
mod fault;
#[cfg(feature = "emulation")]
mod interrupt;

use core::arch::asm;

#[cfg(feature = "emulation")]
pub use interrupt::Interrupt;
#[cfg(feature = "emulation")]
pub use riscv_rt::entry;

use crate::linker;
use crate::stack::PAINT;

/// Guards the stack, paints it, and lets faults be reported. The ESP32-C3's HAL does all but the
/// painting.
pub(crate) fn prepare() {
    #[cfg(any(feature = "emulation", feature = "rp2350"))]
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

/// Starts the chip anew. An emulator has ended by now.
pub(crate) fn restart() -> ! {
    #[cfg(feature = "esp32c3")]
    {
        /// RTC_CNTL_OPTIONS0 and its bit that resets the whole chip.
        const OPTIONS: *mut u32 = 0x6000_8000 as *mut u32;
        const RESET: u32 = 1 << 31;
        // SAFETY: nothing else runs any more.
        unsafe { OPTIONS.write_volatile(OPTIONS.read_volatile() | RESET) };
    }
    #[cfg(feature = "rp2350")]
    {
        /// What the watchdog resets: all but the oscillators, as the boot code expects.
        const PSM_WDSEL: *mut u32 = 0x4001_8008 as *mut u32;
        const WITHOUT_OSCILLATORS: u32 = 0x01ff_fff3;
        const WATCHDOG_CTRL: *mut u32 = 0x400d_8000 as *mut u32;
        const TRIGGER: u32 = 1 << 31;
        // SAFETY: nothing else runs any more.
        unsafe {
            PSM_WDSEL.write_volatile(WITHOUT_OSCILLATORS);
            WATCHDOG_CTRL.write_volatile(TRIGGER);
        }
    }
    loop {
        riscv::asm::wfi();
    }
}

/// What the core's own counter has counted since its start. The ESP32-C3 has none.
pub fn cycles() -> u64 {
    riscv::register::mcycle::read64()
}

#[cfg(feature = "emulation")]
/// The core's own counter; with `-icount shift=0` one instruction is one cycle.
#[derive(Debug, Default)]
pub struct Instructions;

#[cfg(feature = "emulation")]
impl Instructions {
    /// Every place is as good as another one to start at.
    pub fn begin(&mut self) {}

    /// Instructions since the start.
    pub fn count(&mut self) -> u64 {
        cycles()
    }
}
