//! Cycles, counted by the core's performance counter: it lacks the counter of the standard.

use core::arch::asm;

use lowbit_board_common::firmware::Clock;
use lowbit_runtime::protocol::TickUnit;

/// The counter. Must be read at least once per 2^32 cycles.
pub(crate) struct Cycles {
    last: u32,
    cycles: u64,
}

impl Cycles {
    /// Starts the counter.
    ///
    /// # Safety
    /// Nothing else may use the core's performance counter.
    pub(crate) unsafe fn new() -> Self {
        // Its registers `mpcer`, what to count, and `mpcmr`, whether to count.
        // SAFETY: the caller gives us the counter.
        unsafe { asm!("csrwi 0x7e0, 1", "csrwi 0x7e1, 1", options(nomem, nostack)) };
        Self {
            last: read(),
            cycles: 0,
        }
    }
}

/// Its register `mpccr`.
fn read() -> u32 {
    let count;
    // SAFETY: reads a register.
    unsafe { asm!("csrr {}, 0x7e2", out(reg) count, options(nomem, nostack)) };
    count
}

impl Clock for Cycles {
    const UNIT: TickUnit = TickUnit::Cycles;

    /// It is as fine as what it counts.
    fn begin(&mut self) {}

    fn count(&mut self) -> u64 {
        let now = read();
        self.cycles += u64::from(now.wrapping_sub(self.last));
        self.last = now;
        self.cycles
    }

    /// The core runs at 160 MHz.
    fn per_second(&self) -> u64 {
        160_000_000
    }
}
