//! Firmware of Nordic's nRF52840-DK.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "the chip's port, flash and core")]

mod port;

use embassy_nrf::config::{Config, HfclkSource};
use embassy_nrf::nvmc::Nvmc;
use lowbit_board_common::arch::{Cycles, entry};
use lowbit_board_common::firmware::{self, ConstStaticCell, Identity, Workspace};
use lowbit_board_common::linker::Memory;
use lowbit_board_common::mapped_flash::MappedFlash;
use lowbit_runtime::format::MAX_OPERATIONS;
use lowbit_runtime::protocol::FRAME_BYTES;

const IDENTITY: Identity = Identity {
    name: "nrf52840-dk",
    core: "cortex-m4f",
    slots: 2,
    ahead_bytes: port::AHEAD_BYTES,
};
/// Of the core, in Hz.
const CLOCK: u32 = 64_000_000;
/// Where the flash is in memory.
const FLASH: usize = 0;

static WORKSPACE: ConstStaticCell<Workspace<FRAME_BYTES, { 4 * MAX_OPERATIONS as usize }>> =
    Workspace::new();

#[entry]
fn main() -> ! {
    let mut config = Config::default();
    // The internal oscillator is too far off for a serial port.
    config.hfclk_source = HfclkSource::ExternalXtal;
    let chip = embassy_nrf::init(config);
    // SAFETY: nothing else uses the core's trace unit.
    let cycles = unsafe { Cycles::new(CLOCK) };
    let Memory { models, arena } = Memory::take().expect("is taken once");
    let driver = Nvmc::new(chip.NVMC);
    // SAFETY: the linker script sets aside a part of that flash, and there is no other driver.
    let flash = unsafe { MappedFlash::new(driver, models, FLASH) };
    let link = port::open(chip.P0_06, chip.P0_08);
    firmware::serve(IDENTITY, link, flash, cycles, arena, WORKSPACE.take())
}
