//! Firmware of Arm's MPS2 board with the AN505 image, as QEMU emulates it.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "peripherals are fixed addresses")]

use lowbit_board_common::arch::{Instructions, Interrupt, entry};
use lowbit_board_common::emulation;
use lowbit_board_common::firmware::{ConstStaticCell, Identity, Workspace};
use lowbit_board_common::serial::{Cmsdk, Serial};
use lowbit_runtime::format::MAX_OPERATIONS;
use lowbit_runtime::protocol::FRAME_BYTES;

const UART0: usize = 0x5020_0000;
const UART0_RECEIVE: u16 = 32;
/// An instruction takes 1 ns; the core's timer ticks at 20 MHz.
const INSTRUCTIONS_PER_TWO_TICKS: u32 = 100;

static WORKSPACE: ConstStaticCell<Workspace<FRAME_BYTES, { 4 * MAX_OPERATIONS as usize }>> =
    Workspace::new();

#[entry]
fn main() -> ! {
    // SAFETY: the board has its first UART here, and nothing else uses it.
    let port = unsafe { Cmsdk::new(UART0) };
    let interrupt = Interrupt::new(UART0_RECEIVE);
    // SAFETY: nothing else uses the core's timer.
    let instructions = unsafe { Instructions::new(INSTRUCTIONS_PER_TWO_TICKS) };
    let identity = Identity {
        name: "mps2-an505",
        core: "cortex-m33",
        slots: 2,
        ahead_bytes: emulation::AHEAD_BYTES,
    };
    let link = Serial::new(port, interrupt);
    emulation::serve(
        identity,
        c"mps2-an505.flash",
        link,
        instructions,
        WORKSPACE.take(),
    )
}
