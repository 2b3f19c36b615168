//! Cortex-M.

// Cores without atomic exchange have no such counter either.
#[cfg(target_has_atomic = "32")]
mod cycles;
mod fault;
mod interrupt;
mod sys_tick;

pub use cortex_m_rt::entry;
#[cfg(target_has_atomic = "32")]
pub use cycles::Cycles;
pub use interrupt::Interrupt;
pub use sys_tick::Instructions;

/// The start-up code has done everything: cortex-m-rt paints the stack.
pub(crate) fn prepare() {}

/// Starts the chip anew.
pub(crate) fn restart() -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}
