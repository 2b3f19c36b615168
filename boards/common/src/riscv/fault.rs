//! What happens when the core cannot go on.

use core::arch::{asm, global_asm};

use crate::linker;
use crate::stack;
use crate::stop::stop;

/// Bytes below the stack that cannot be touched.
const GUARD_BYTES: usize = 4096;

// The stack may be what is broken, so it starts anew.
global_asm!(
    ".balign 4",
    "lowbit_trap:",
    "csrr a0, mepc",
    "csrr a1, mcause",
    "csrr a2, mtval",
    "la sp, _stack_start",
    "j {report}",
    report = sym report,
);

/// Sends faults to [`report`] and forbids all access to the [`GUARD_BYTES`] below the stack.
pub(super) fn prepare() {
    let guard = linker::stack().start.addr() - GUARD_BYTES;
    // A naturally aligned power of two, as the privileged architecture encodes it.
    let region = guard >> 2 | (GUARD_BYTES >> 3) - 1;
    const LOCKED_NO_ACCESS: usize = 1 << 7 | 0b11 << 3;
    // SAFETY: the handler never returns; nothing uses the guarded memory.
    unsafe {
        asm!(
            "la {handler}, lowbit_trap",
            "csrw mtvec, {handler}",
            "csrw pmpaddr0, {region}",
            "csrw pmpcfg0, {locked}",
            handler = out(reg) _,
            region = in(reg) region,
            locked = in(reg) LOCKED_NO_ACCESS,
            options(nostack),
        );
    }
}

/// `address` is what a failed access was for.
extern "C" fn report(place: usize, cause: usize, address: usize) -> ! {
    let bottom = linker::stack().start.addr();
    if (bottom - GUARD_BYTES..bottom).contains(&address) {
        let bytes = stack::reserved();
        stop(102, format_args!("its stack of {bytes} bytes is full"))
    } else {
        stop(102, format_args!("exception {cause} at {place:#010x}"))
    }
}
