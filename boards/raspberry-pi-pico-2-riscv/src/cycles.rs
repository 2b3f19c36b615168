//! Cycles, counted by the core.
//!
//! The count is kept in 64 bits by the core itself.

use core::arch::asm;

use lowbit_board_common::arch::cycles;
use lowbit_board_common::firmware::Clock;
use lowbit_runtime::protocol::TickUnit;

/// The counter.
pub(crate) struct Cycles {
    per_second: u32,
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
        Self { per_second }
    }
}

impl Clock for Cycles {
    const UNIT: TickUnit = TickUnit::Cycles;

    /// It is as fine as what it counts.
    fn begin(&mut self) {}

    fn count(&mut self) -> u64 {
        cycles()
    }

    fn per_second(&self) -> u64 {
        self.per_second.into()
    }
}
