//! Firmware of boards with Espressif's ESP32-C3.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "the chip's flash and counters")]

mod cycles;
mod flash;
mod link;

use esp_hal::clock::CpuClock;
use esp_storage::FlashStorage;
use lowbit_board_common::firmware::{self, ConstStaticCell, Identity, Workspace};
use lowbit_board_common::linker::Memory;
use lowbit_board_common::mapped_flash::MappedFlash;
use lowbit_runtime::format::MAX_OPERATIONS;
use lowbit_runtime::protocol::FRAME_BYTES;

use crate::cycles::Cycles;
use crate::flash::CachedFlash;
use crate::link::Usb;

esp_bootloader_esp_idf::esp_app_desc!();

const IDENTITY: Identity = Identity {
    name: "esp32c3",
    core: "rv32imc",
    slots: 2,
    ahead_bytes: link::AHEAD_BYTES,
};

static WORKSPACE: ConstStaticCell<Workspace<FRAME_BYTES, { 4 * MAX_OPERATIONS as usize }>> =
    Workspace::new();

#[esp_hal::main]
fn main() -> ! {
    let chip = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    // SAFETY: nothing else uses the core's performance counter.
    let cycles = unsafe { Cycles::new() };
    let Memory { models, arena } = Memory::take().expect("is taken once");
    // SAFETY: the program lies below, and there is no other driver.
    let driver = unsafe { CachedFlash::map(FlashStorage::new(chip.FLASH), models) };
    // SAFETY: it has just been mapped.
    let flash = unsafe { MappedFlash::new(driver, models, flash::BASE) };
    let link = Usb::new(chip.USB_DEVICE);
    firmware::serve(IDENTITY, link, flash, cycles, arena, WORKSPACE.take())
}
