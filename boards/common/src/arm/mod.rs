//! Cortex-M.

mod fault;
mod interrupt;
mod sys_tick;

pub use cortex_m_rt::entry;
pub use interrupt::Interrupt;
pub use sys_tick::Instructions;

/// The start-up code has done everything: cortex-m-rt paints the stack.
pub(crate) fn prepare() {}
