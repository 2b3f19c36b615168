//! What the firmware of several boards shares.
//!
//! | module | subject |
//! | --- | --- |
//! | [`firmware`] | the command loop of an emulated board |
//! | [`serial`] | serial ports |
//! | [`emulated_flash`] | a part of the memory that keeps the rules of NOR flash |
//! | [`arch`] | the core: start-up, sleep, instruction counter, faults |
//! | [`linker`], [`stack`] | what the linker script sets apart |
#![no_std]

#[cfg(target_arch = "arm")]
#[path = "arm/mod.rs"]
pub mod arch;
#[cfg(target_arch = "riscv32")]
#[path = "riscv/mod.rs"]
pub mod arch;
pub mod emulated_flash;
pub mod firmware;
pub mod linker;
mod register;
pub mod serial;
pub mod stack;
