//! What happens when the core cannot go on: a message through semihosting, then the end. (A panic
//! ends the same way, through the handler of the `semihosting` crate.)

#![expect(unsafe_code, reason = "exception handlers are entered by the core")]

use core::arch::naked_asm;

use cortex_m_rt::exception;
use semihosting::{eprintln, process};

use crate::linker;

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
        eprintln!(
            "the firmware stopped: its stack of {} bytes is full",
            crate::stack::reserved()
        );
    } else {
        // SAFETY: the core has put eight words there, within the stack.
        let (caller, place) = unsafe { (frame.add(5).read(), frame.add(6).read()) };
        eprintln!("the firmware stopped: hard fault at {place:#010x}, called from {caller:#010x}");
    }
    process::exit(102)
}

#[exception]
unsafe fn DefaultHandler(number: i16) -> ! {
    eprintln!("the firmware stopped: unexpected exception {number}");
    process::exit(103)
}
