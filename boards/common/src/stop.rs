//! The end of a firmware that cannot go on.
//!
//! An emulator is told why and ends. A chip has nobody to tell, and is of more use when it answers
//! again: it starts anew.

use core::fmt::Arguments;
use core::panic::PanicInfo;

#[cfg(feature = "emulation")]
pub use emulated::runs_on_chip;

/// Ends the firmware. `code` is the emulator's exit code.
pub(crate) fn stop(code: i32, reason: Arguments<'_>) -> ! {
    #[cfg(feature = "emulation")]
    emulated::tell(code, reason);
    #[cfg(not(feature = "emulation"))]
    let _ = (code, reason);
    crate::arch::restart()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    stop(101, format_args!("{info}"))
}

#[cfg(feature = "emulation")]
mod emulated {
    use core::fmt::Arguments;

    use portable_atomic::{AtomicBool, Ordering};
    use semihosting::{eprintln, process};

    static ON_CHIP: AtomicBool = AtomicBool::new(false);

    /// Says that this time no emulator runs the firmware.
    pub fn runs_on_chip() {
        ON_CHIP.store(true, Ordering::Relaxed);
    }

    /// Returns only on a chip.
    pub(super) fn tell(code: i32, reason: Arguments<'_>) {
        if !ON_CHIP.load(Ordering::Relaxed) {
            eprintln!("the firmware stopped: {reason}");
            process::exit(code)
        }
    }
}
