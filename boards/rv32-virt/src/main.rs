//! Firmware of QEMU's RISC-V machine `virt` with a 32-bit core.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "peripherals are fixed addresses")]

use lowbit_board_common::arch::{Instructions, Interrupt, entry};
use lowbit_board_common::emulation;
use lowbit_board_common::firmware::{ConstStaticCell, Identity, Workspace};
use lowbit_board_common::serial::{Ns16550, Serial};
use lowbit_runtime::format::MAX_OPERATIONS;
use lowbit_runtime::protocol::FRAME_BYTES;

const UART0: usize = 0x1000_0000;
const UART0_INTERRUPT: u16 = 10;

static WORKSPACE: ConstStaticCell<Workspace<FRAME_BYTES, { 4 * MAX_OPERATIONS as usize }>> =
    Workspace::new();

/// Where the start-up code goes.
#[entry]
fn main() -> ! {
    // SAFETY: the board has its first UART here, and nothing else uses it.
    let port = unsafe { Ns16550::new(UART0) };
    // SAFETY: the machine has that interrupt controller, and nothing else uses it.
    let interrupt = unsafe { Interrupt::new(UART0_INTERRUPT) };
    let instructions = Instructions;
    let identity = Identity {
        name: "rv32-virt",
        core: "rv32imac",
        slots: 2,
        ahead_bytes: emulation::AHEAD_BYTES,
    };
    let link = Serial::new(port, interrupt);
    emulation::serve(
        identity,
        c"rv32-virt.flash",
        link,
        instructions,
        WORKSPACE.take(),
    )
}
