//! Firmware of the BBC micro:bit, as QEMU emulates it.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "peripherals are fixed addresses")]

use lowbit_board_common::arch::{Instructions, Interrupt, entry};
use lowbit_board_common::emulation;
use lowbit_board_common::firmware::{ConstStaticCell, Identity, Workspace};
use lowbit_board_common::serial::{Nrf51, Serial};
use lowbit_runtime::protocol::MIN_FRAME_BYTES;

const UART0: usize = 0x4000_2000;
const UART0_INTERRUPT: u16 = 2;
/// An instruction takes 1 ns; the core's timer ticks at 16 MHz.
const INSTRUCTIONS_PER_TWO_TICKS: u32 = 125;
/// Checksums or counts of 64 operations.
const RESULT_BYTES: usize = 256;

static WORKSPACE: ConstStaticCell<Workspace<MIN_FRAME_BYTES, RESULT_BYTES>> = Workspace::new();

#[entry]
fn main() -> ! {
    // SAFETY: the board has its first UART here, and nothing else uses it.
    let port = unsafe { Nrf51::new(UART0) };
    let interrupt = Interrupt::new(UART0_INTERRUPT);
    // SAFETY: nothing else uses the core's timer.
    let instructions = unsafe { Instructions::new(INSTRUCTIONS_PER_TWO_TICKS) };
    let identity = Identity {
        name: "microbit",
        core: "cortex-m0",
        slots: 1,
        ahead_bytes: emulation::AHEAD_BYTES,
    };
    let link = Serial::new(port, interrupt);
    emulation::serve(
        identity,
        c"microbit.flash",
        link,
        instructions,
        WORKSPACE.take(),
    )
}
