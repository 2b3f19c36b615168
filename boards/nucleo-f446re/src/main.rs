//! Firmware of ST's NUCLEO-F446RE.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "the chip's port, flash and core")]

mod port;

use embassy_stm32::Config;
use embassy_stm32::flash::Flash;
use embassy_stm32::rcc::{APBPrescaler, Pll, PllMul, PllPDiv, PllPreDiv, PllSource, Sysclk};
use lowbit_board_common::arch::{Cycles, entry};
use lowbit_board_common::firmware::{self, ConstStaticCell, Identity, Workspace};
use lowbit_board_common::linker::Memory;
use lowbit_board_common::mapped_flash::MappedFlash;
use lowbit_runtime::format::MAX_OPERATIONS;
use lowbit_runtime::protocol::FRAME_BYTES;

const IDENTITY: Identity = Identity {
    name: "nucleo-f446re",
    core: "cortex-m4f",
    slots: 2,
    ahead_bytes: port::AHEAD_BYTES,
};
/// Where the flash is in memory.
const FLASH: usize = 0x0800_0000;
/// Of the core, in Hz.
const CLOCK: u32 = 180_000_000;
/// Of the serial port: a quarter of it.
const PORT_CLOCK: u32 = 45_000_000;

static WORKSPACE: ConstStaticCell<Workspace<FRAME_BYTES, { 4 * MAX_OPERATIONS as usize }>> =
    Workspace::new();

#[entry]
fn main() -> ! {
    let chip = embassy_stm32::init(full_speed());
    // SAFETY: nothing else uses the core's trace unit.
    let cycles = unsafe { Cycles::new(CLOCK) };
    let Memory { models, arena } = Memory::take().expect("is taken once");
    let driver = Flash::new_blocking(chip.FLASH);
    // SAFETY: the linker script sets aside a part of that flash, and there is no other driver.
    let flash = unsafe { MappedFlash::new(driver, models, FLASH) };
    let link = port::open(PORT_CLOCK);
    firmware::serve(IDENTITY, link, flash, cycles, arena, WORKSPACE.take())
}

/// 180 MHz, from the internal oscillator of 16 MHz: another one would depend on how the board's
/// bridges are soldered.
fn full_speed() -> Config {
    let mut config = Config::default();
    config.rcc.pll_src = PllSource::HSI;
    config.rcc.pll = Some(Pll {
        prediv: PllPreDiv::DIV8,
        mul: PllMul::MUL180,
        divp: Some(PllPDiv::DIV2),
        divq: None,
        divr: None,
    });
    config.rcc.sys = Sysclk::PLL1_P;
    config.rcc.apb1_pre = APBPrescaler::DIV4;
    config.rcc.apb2_pre = APBPrescaler::DIV2;
    config
}
