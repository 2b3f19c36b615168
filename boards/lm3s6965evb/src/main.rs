//! Firmware of TI's Stellaris LM3S6965 evaluation board, as QEMU emulates it.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "peripherals are fixed addresses")]

use lowbit_board_common::arch::{Instructions, Interrupt, entry};
use lowbit_board_common::emulation;
use lowbit_board_common::firmware::{ConstStaticCell, Identity, Workspace};
use lowbit_board_common::serial::{Pl011, Serial};
use lowbit_runtime::format::MAX_OPERATIONS;
use lowbit_runtime::protocol::FRAME_BYTES;

const UART0: usize = 0x4000_c000;
const UART0_INTERRUPT: u16 = 5;
/// An instruction takes 1 ns; the core's timer ticks at 12.5 MHz.
const INSTRUCTIONS_PER_TWO_TICKS: u32 = 160;

static WORKSPACE: ConstStaticCell<Workspace<FRAME_BYTES, { 4 * MAX_OPERATIONS as usize }>> =
    Workspace::new();

#[entry]
fn main() -> ! {
    // SAFETY: the board has its first UART here, and nothing else uses it.
    let port = unsafe { Pl011::new(UART0) };
    let interrupt = Interrupt::new(UART0_INTERRUPT);
    // SAFETY: nothing else uses the core's timer.
    let instructions = unsafe { Instructions::new(INSTRUCTIONS_PER_TWO_TICKS) };
    let identity = Identity {
        name: "lm3s6965evb",
        core: "cortex-m3",
        slots: 1,
        ahead_bytes: emulation::AHEAD_BYTES,
    };
    let link = Serial::new(port, interrupt);
    emulation::serve(
        identity,
        c"lm3s6965evb.flash",
        link,
        instructions,
        WORKSPACE.take(),
    )
}
