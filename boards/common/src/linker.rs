//! Places that the linker script defines.
#![expect(unsafe_code, reason = "memory that only the linker script describes")]

use core::slice;
use core::sync::atomic::{AtomicBool, Ordering};

unsafe extern "C" {
    static mut __models_start: u8;
    static mut __models_end: u8;
    static mut _stack_end: u32;
    static mut _stack_start: u32;
}

/// The memory between `__models_start` and `__models_end`; `None` when it has been taken before.
pub fn take_models_memory() -> Option<&'static mut [u8]> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::AcqRel) {
        return None;
    }
    let start = &raw mut __models_start;
    let length = (&raw mut __models_end).addr() - start.addr();
    // SAFETY: the linker script sets this memory apart, and it is handed out once.
    Some(unsafe { slice::from_raw_parts_mut(start, length) })
}

/// The memory reserved for the stack, lowest address first.
pub(crate) fn stack() -> core::ops::Range<*const u32> {
    (&raw const _stack_end)..(&raw const _stack_start)
}
