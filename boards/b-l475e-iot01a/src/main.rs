//! Firmware of ST's B-L475E-IOT01A Discovery kit, on the board and as QEMU emulates it.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "the chip's port, flash, core and exceptions")]

mod flash;
mod port;

use cortex_m_rt::exception;
use embassy_stm32::Config;
use embassy_stm32::flash::Flash;
use embassy_stm32::pac;
use embassy_stm32::rcc::{Pll, PllMul, PllPreDiv, PllRDiv, PllSource, Sysclk};
use lowbit_board_common::arch::{Cycles, Instructions, entry};
use lowbit_board_common::emulation;
use lowbit_board_common::firmware::{self, ConstStaticCell, Identity, Workspace};
use lowbit_board_common::linker::Memory;
use lowbit_board_common::mapped_flash::MappedFlash;
use lowbit_board_common::stop;
use lowbit_runtime::format::MAX_OPERATIONS;
use lowbit_runtime::protocol::FRAME_BYTES;

use crate::flash::CacheSafeFlash;

const IDENTITY: Identity = Identity {
    name: "b-l475e-iot01a",
    core: "cortex-m4f",
    slots: 2,
    ahead_bytes: port::AHEAD_BYTES,
};
/// Of the core and the serial port.
const CLOCK: u32 = 80_000_000;
/// An emulated instruction takes 1 ns; the core's timer then ticks at 4 MHz, the clock after a
/// reset.
const INSTRUCTIONS_PER_TWO_TICKS: u32 = 500;

static WORKSPACE: ConstStaticCell<Workspace<FRAME_BYTES, { 4 * MAX_OPERATIONS as usize }>> =
    Workspace::new();

#[entry]
fn main() -> ! {
    if is_emulated() {
        serve_emulated()
    } else {
        stop::runs_on_chip();
        serve_on_chip()
    }
}

/// QEMU's chip has no identity.
fn is_emulated() -> bool {
    pac::DBGMCU.idcode().read().0 == 0
}

/// Without the HAL: it waits for the power controller, and for the flash to be slow enough for the
/// clock, and QEMU models neither.
fn serve_emulated() -> ! {
    // SAFETY: nothing else uses the core's timer.
    let instructions = unsafe { Instructions::new(INSTRUCTIONS_PER_TWO_TICKS) };
    let file = c"b-l475e-iot01a.flash";
    emulation::serve(
        IDENTITY,
        file,
        port::open(CLOCK),
        instructions,
        WORKSPACE.take(),
    )
}

fn serve_on_chip() -> ! {
    let chip = embassy_stm32::init(full_speed());
    // SAFETY: nothing else uses the core's trace unit.
    let cycles = unsafe { Cycles::new(CLOCK) };
    let Memory { models, arena } = Memory::take().expect("is taken once");
    let driver = CacheSafeFlash(Flash::new_blocking(chip.FLASH));
    // SAFETY: the linker script sets aside a part of that flash, and there is no other driver.
    let flash = unsafe { MappedFlash::new(driver, models, flash::BASE) };
    let link = port::open(CLOCK);
    firmware::serve(IDENTITY, link, flash, cycles, arena, WORKSPACE.take())
}

/// [`CLOCK`], from the internal oscillator of 4 MHz.
fn full_speed() -> Config {
    let mut config = Config::default();
    config.rcc.pll = Some(Pll {
        source: PllSource::MSI,
        prediv: PllPreDiv::DIV1,
        mul: PllMul::MUL40,
        divp: None,
        divq: None,
        divr: Some(PllRDiv::DIV2),
    });
    config.rcc.sys = Sysclk::PLL1_R;
    config
}

#[exception]
unsafe fn NonMaskableInt() {
    flash::forget_damage();
}
