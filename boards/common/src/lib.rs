//! What the firmware of several boards shares.
//!
//! | module | subject |
//! | --- | --- |
//! | [`firmware`] | the command loop of a board |
//! | `emulation` (feature) | what only emulated boards have: flash in a file |
//! | [`mapped_flash`] | a part of a chip's flash, over the driver of any HAL |
//! | [`serial`] | serial ports |
//! | [`arch`] | the core: start-up, sleep, counters, faults |
//! | [`linker`], [`stack`] | what the linker script sets apart |
//! | [`stop`] | the end of a firmware that cannot go on |
#![no_std]

#[cfg(target_arch = "arm")]
#[path = "arm/mod.rs"]
pub mod arch;
#[cfg(target_arch = "riscv32")]
#[path = "riscv/mod.rs"]
pub mod arch;
#[cfg(feature = "emulation")]
pub mod emulation;
pub mod firmware;
pub mod linker;
pub mod mapped_flash;
#[cfg(any(target_arch = "arm", feature = "emulation"))]
mod register;
#[cfg(any(target_arch = "arm", feature = "emulation"))]
pub mod serial;
pub mod stack;
pub mod stop;
