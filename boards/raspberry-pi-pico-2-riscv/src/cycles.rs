//! Cycles, counted by the core.

use core::arch::asm;

use lowbit_board_common::firmware::Clock;
use lowbit_runtime::protocol::TickUnit;

/// The counter. Must be read at least once per 2^32 cycles.
pub(crate) struct Cycles {
    per_second: u32,
    last: u32,
    cycles: u64,
}

impl Cycles {
    /// Starts the counter of a core that runs at `per_second` Hz.
    ///
    /// # Safety
    /// Nothing else may use it.
    pub(crate) unsafe fn new(per_second: u32) -> Self {
        // The core starts with its counters held.
        // SAFETY: the caller gives us the counter.
        unsafe { asm!("csrw mcountinhibit, zero", options(nomem, nostack)) };
        Self {
            per_second,
            last: read(),
            cycles: 0,
        }
    }
}

fn read() -> u32 {
    let count;
    // SAFETY: reads a register.
    unsafe { asm!("csrr {}, mcycle", out(reg) count, options(nomem, nostack)) };
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

    fn per_second(&self) -> u64 {
        self.per_second.into()
    }
}
