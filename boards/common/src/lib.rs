//! Drivers that several boards share.
#![no_std]

pub mod cmsdk;
pub mod emulated_flash;
pub mod fault;
pub mod linker;
pub mod stack;
