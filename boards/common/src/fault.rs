//! What happens when the core cannot go on: a message through semihosting, then the end. (A panic
//! ends the same way, through the handler of the `semihosting` crate.)

#![expect(unsafe_code, reason = "exception handlers are entered by the core")]

use cortex_m_rt::{ExceptionFrame, exception};
use semihosting::{eprintln, process};

#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    eprintln!(
        "the firmware stopped with a hard fault at {:#010x}, called from {:#010x}",
        frame.pc(),
        frame.lr()
    );
    process::exit(102)
}

#[exception]
unsafe fn DefaultHandler(number: i16) -> ! {
    eprintln!("the firmware stopped with unexpected exception {number}");
    process::exit(103)
}
