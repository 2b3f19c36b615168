//! The 32-bit down counter.

use super::Register;

const ENABLE: u32 = 1;

/// Counts ticks of the peripheral clock; must be read at least once per 2^32 of them.
#[derive(Debug)]
pub struct Timer {
    value: Register,
    last: u32,
    ticks: u64,
}

impl Timer {
    /// Starts the timer at `base`.
    ///
    /// # Safety
    /// A CMSDK timer that nothing else uses must be at `base`.
    pub unsafe fn new(base: usize) -> Self {
        let control = Register::at(base);
        let value = Register::at(base + 0x4);
        let reload = Register::at(base + 0x8);
        reload.write(u32::MAX);
        value.write(u32::MAX);
        control.write(ENABLE);
        Self {
            value,
            last: value.read(),
            ticks: 0,
        }
    }

    /// Ticks since the start.
    pub fn ticks(&mut self) -> u64 {
        let now = self.value.read();
        self.ticks += u64::from(self.last.wrapping_sub(now));
        self.last = now;
        self.ticks
    }
}
