//! Places that the linker script defines.
#![expect(unsafe_code, reason = "memory that only the linker script describes")]

use core::ops::Range;
use core::slice;

use portable_atomic::{AtomicBool, Ordering};

unsafe extern "C" {
    static mut __models_start: u8;
    static mut __models_end: u8;
    static mut __arena_start: u8;
    static mut __arena_end: u8;
    // esp-hal watches the word there.
    #[cfg_attr(feature = "esp32c3", link_name = "__stack_chk_guard")]
    static mut _stack_end: u32;
    static mut _stack_start: u32;
}

/// Memory that the linker script sets apart and nothing initialises.
#[derive(Debug)]
pub struct Memory {
    /// For models.
    pub models: &'static mut [u8],
    /// For inference.
    pub arena: &'static mut [u8],
}

impl Memory {
    /// `None` when it has been taken before.
    pub fn take() -> Option<Self> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::AcqRel) {
            return None;
        }
        // SAFETY: the linker script sets this memory apart, and it is handed out once.
        let between = |start: *mut u8, end: *mut u8| unsafe {
            slice::from_raw_parts_mut(start, end.addr() - start.addr())
        };
        Some(Self {
            models: between(&raw mut __models_start, &raw mut __models_end),
            arena: between(&raw mut __arena_start, &raw mut __arena_end),
        })
    }
}

/// The memory reserved for the stack, lowest address first.
pub(crate) fn stack() -> Range<*const u32> {
    let watched = usize::from(cfg!(feature = "esp32c3"));
    (&raw const _stack_end).wrapping_add(watched)..(&raw const _stack_start)
}
