//! What happens when the core cannot go on.

#![expect(unsafe_code, reason = "exception handlers are entered by the core")]

use core::arch::naked_asm;

use cortex_m_rt::exception;

use crate::linker;
use crate::stop::stop;

/// Entry of the exception. The stack may be what is broken, so it starts anew.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn HardFault() -> ! {
    naked_asm!(
        "mrs r0, msp",
        "ldr r1, =_stack_start",
        "msr msp, r1",
        "bl {report}",
        report = sym report,
    )
}

/// `frame` is where the stack was: the registers r0 to r3, r12, lr, pc and xpsr.
extern "C" fn report(frame: *const u32) -> ! {
    if frame < linker::stack().start {
        let bytes = crate::stack::reserved();
        stop(102, format_args!("its stack of {bytes} bytes is full"))
    } else {
        // SAFETY: the core has put eight words there, within the stack.
        let (caller, place) = unsafe { (frame.add(5).read(), frame.add(6).read()) };
        let words = format_args!("hard fault at {place:#010x}, called from {caller:#010x}");
        stop(102, words)
    }
}

#[exception]
unsafe fn DefaultHandler(number: i16) -> ! {
    stop(103, format_args!("unexpected exception {number}"))
}
