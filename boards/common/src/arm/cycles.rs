//! Cycles counted with the core's trace unit (DWT), which Cortex-M3 and larger ones have.
#![expect(unsafe_code, reason = "a peripheral of the core")]

use cortex_m::peripheral::DWT;
use lowbit_runtime::protocol::TickUnit;

use crate::firmware::Clock;

/// The counter. Must be read at least once per 2^32 cycles.
#[derive(Debug)]
pub struct Cycles {
    last: u32,
    cycles: u64,
    hertz: u32,
}

impl Cycles {
    /// Starts the counter of a core that runs at `hertz`.
    ///
    /// # Safety
    /// Nothing else may use the core's trace unit.
    #[must_use]
    pub unsafe fn new(hertz: u32) -> Self {
        // SAFETY: the caller gives us the trace unit; the other peripherals are not touched.
        let mut core = unsafe { cortex_m::Peripherals::steal() };
        core.DCB.enable_trace();
        // Cortex-M7 keeps the counter locked.
        DWT::unlock();
        core.DWT.enable_cycle_counter();
        Self {
            last: DWT::cycle_count(),
            cycles: 0,
            hertz,
        }
    }
}

impl Clock for Cycles {
    const UNIT: TickUnit = TickUnit::Cycles;

    /// It is as fine as what it counts.
    fn begin(&mut self) {}

    fn count(&mut self) -> u64 {
        let now = DWT::cycle_count();
        self.cycles += u64::from(now.wrapping_sub(self.last));
        self.last = now;
        self.cycles
    }

    fn per_second(&self) -> u64 {
        self.hertz.into()
    }
}
