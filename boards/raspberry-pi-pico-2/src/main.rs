//! Firmware of the Raspberry Pi Pico 2.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "the chip's port, flash and core")]

mod port;

use embassy_rp::clocks::{clk_peri_freq, clk_sys_freq};
use embassy_rp::flash::{Blocking, FLASH_BASE, Flash};
use embassy_rp::peripherals::FLASH;
use lowbit_board_common::arch::{Cycles, entry};
use lowbit_board_common::firmware::{self, ConstStaticCell, Identity, Workspace};
use lowbit_board_common::linker::Memory;
use lowbit_board_common::mapped_flash::MappedFlash;
use lowbit_runtime::format::MAX_OPERATIONS;
use lowbit_runtime::protocol::FRAME_BYTES;

const IDENTITY: Identity = Identity {
    name: "raspberry-pi-pico-2",
    core: "cortex-m33",
    slots: 2,
    ahead_bytes: port::AHEAD_BYTES,
};
const FLASH_BYTES: usize = 4 << 20;

static WORKSPACE: ConstStaticCell<Workspace<FRAME_BYTES, { 4 * MAX_OPERATIONS as usize }>> =
    Workspace::new();

#[entry]
fn main() -> ! {
    // At 150 MHz, from the board's crystal.
    let chip = embassy_rp::init(embassy_rp::config::Config::default());
    // SAFETY: nothing else uses the core's trace unit.
    let cycles = unsafe { Cycles::new(clk_sys_freq()) };
    let Memory { models, arena } = Memory::take().expect("is taken once");
    // While it writes, it runs from RAM, with interrupts off: the program lies in the same flash.
    let driver = Flash::<FLASH, Blocking, FLASH_BYTES>::new_blocking(chip.FLASH);
    // SAFETY: the linker script sets aside a part of that flash, and there is no other driver.
    let flash = unsafe { MappedFlash::new(driver, models, FLASH_BASE.addr()) };
    let link = port::open(clk_peri_freq());
    firmware::serve(IDENTITY, link, flash, cycles, arena, WORKSPACE.take())
}
