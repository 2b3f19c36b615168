//! Instructions counted with the core's timer.
//!
//! With `-icount shift=0` QEMU takes 1 ns of virtual time per instruction, and the timer, which
//! runs with the core's clock, ticks once in 40 or so. How many ticks a piece of code sees would
//! depend on where within a tick it starts, so every measurement starts at the same place:
//! [`begin`](Instructions::begin) ends right after a tick, to the instruction.
#![expect(unsafe_code, reason = "inline assembly and a register of the core")]

use core::arch::asm;

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;

/// Largest count of the timer.
const MOST: u32 = 0x00ff_ffff;

/// The timer. Must be read at least once per 2^24 ticks.
pub struct Instructions {
    per_two_ticks: u32,
    last: u32,
    ticks: u64,
}

impl Instructions {
    /// Starts the timer, which ticks twice in `per_two_ticks` instructions, no multiple of 7.
    ///
    /// # Safety
    /// Nothing else may use the core's timer.
    #[must_use]
    pub unsafe fn new(per_two_ticks: u32) -> Self {
        // SAFETY: the caller gives us the timer; the other peripherals are not touched.
        let mut timer = unsafe { cortex_m::Peripherals::steal() }.SYST;
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(MOST);
        timer.clear_current();
        timer.enable_counter();
        Self {
            per_two_ticks,
            last: SYST::get_current(),
            ticks: 0,
        }
    }

    /// Waits until the timer has just become even.
    pub fn begin(&mut self) {
        // Two reads, one right after the other, that differ in the lowest bit only: the timer
        // counts down, so that the second one is even. A round takes 7 instructions, which has no
        // factor in common with the time between two such ticks, so that the reads hit every place
        // within it before long.
        // SAFETY: reads the timer's current value.
        unsafe {
            asm!(
                "2:",
                "ldr {first}, [{timer}]",
                "ldr {second}, [{timer}]",
                "eors {first}, {second}",
                "cmp {first}, #1",
                "beq 3f",
                "nop",
                "b 2b",
                "3:",
                timer = in(reg) &raw const (*SYST::PTR).cvr,
                first = out(reg) _,
                second = out(reg) _,
                options(nostack, readonly),
            );
        }
        self.count();
    }

    /// Instructions since the start.
    pub fn count(&mut self) -> u64 {
        let now = SYST::get_current();
        self.ticks += u64::from(self.last.wrapping_sub(now) & MOST);
        self.last = now;
        // No division: that of 64 bits takes longer for some numbers than for others.
        (self.ticks * u64::from(self.per_two_ticks)) >> 1
    }
}
