//! How much stack has been used.

use crate::linker;

/// What start-up code fills the stack with (cortex-m-rt's `paint-stack`).
pub(crate) const PAINT: u32 = 0xcccc_cccc;

/// Bytes reserved for the stack.
#[must_use]
pub fn reserved() -> u32 {
    let stack = linker::stack();
    (stack.end.addr() - stack.start.addr()) as u32
}

/// Most bytes of stack that have been in use at once.
#[must_use]
pub fn used() -> u32 {
    let stack = linker::stack();
    let mut lowest = stack.start;
    while lowest < stack.end && is_painted(lowest) {
        lowest = lowest.wrapping_add(1);
    }
    (stack.end.addr() - lowest.addr()) as u32
}

#[expect(unsafe_code, reason = "the stack is no object of the language")]
fn is_painted(word: *const u32) -> bool {
    // SAFETY: `word` lies in the memory of the stack, which can always be read.
    unsafe { word.read_volatile() == PAINT }
}
