//! Firmware of the Raspberry Pi Pico 2, for its RISC-V core.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "the chip's port, flash and core")]

mod cycles;
mod flash;
mod port;

use core::arch::global_asm;

use lowbit_board_common::firmware::{self, ConstStaticCell, Identity, Workspace};
use lowbit_board_common::linker::Memory;
use lowbit_board_common::mapped_flash::MappedFlash;
use lowbit_runtime::format::MAX_OPERATIONS;
use lowbit_runtime::protocol::FRAME_BYTES;
use rp235x_hal::block::ImageDef;
use rp235x_hal::clocks::{Clock, init_clocks_and_plls};
use rp235x_hal::gpio::Pins;
use rp235x_hal::{Sio, Watchdog, entry, pac};

use crate::cycles::Cycles;
use crate::flash::BootFlash;
use crate::port::Port;

const IDENTITY: Identity = Identity {
    name: "raspberry-pi-pico-2-riscv",
    core: "rv32imac",
    slots: 2,
    ahead_bytes: 0,
};
/// Of the board, in Hz.
const CRYSTAL: u32 = 12_000_000;

/// Makes the chip's boot code start the RISC-V core instead of the Arm core.
#[unsafe(link_section = ".start_block")]
#[used]
static IMAGE: ImageDef = ImageDef::secure_exe();

// Where the boot code starts: before the description, which is no code.
global_asm!(
    ".pushsection .boot.entry, \"ax\"",
    "j _start",
    ".popsection",
);

static WORKSPACE: ConstStaticCell<Workspace<FRAME_BYTES, { 4 * MAX_OPERATIONS as usize }>> =
    Workspace::new();

/// Where the start-up code goes.
#[entry]
fn main() -> ! {
    let mut chip = pac::Peripherals::take().expect("is taken once");
    let clocks = init_clocks_and_plls(
        CRYSTAL,
        chip.XOSC,
        chip.CLOCKS,
        chip.PLL_SYS,
        chip.PLL_USB,
        &mut chip.RESETS,
        &mut Watchdog::new(chip.WATCHDOG),
    )
    .ok()
    .expect("the crystal can make 150 MHz");
    // SAFETY: nothing else uses the core's counters.
    let cycles = unsafe { Cycles::new(clocks.system_clock.freq().to_Hz()) };
    let Memory { models, arena } = Memory::take().expect("is taken once");
    // SAFETY: there is one driver, and interrupts stay off.
    let driver = unsafe { BootFlash::new() };
    // SAFETY: the linker script sets aside a part of that flash, and there is no other driver.
    let flash = unsafe { MappedFlash::new(driver, models, flash::BASE) };
    let pins = Pins::new(
        chip.IO_BANK0,
        chip.PADS_BANK0,
        Sio::new(chip.SIO).gpio_bank0,
        &mut chip.RESETS,
    );
    let pins = (pins.gpio0.reconfigure(), pins.gpio1.reconfigure());
    let clock = clocks.peripheral_clock.freq();
    let link = Port::open(chip.UART0, pins, &mut chip.RESETS, clock);
    firmware::serve(IDENTITY, link, flash, cycles, arena, WORKSPACE.take())
}
