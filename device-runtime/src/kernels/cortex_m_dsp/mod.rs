//! Inner loops for the DSP instructions of Cortex-M4, M7 and cores with the DSP extension.
#![expect(unsafe_code, reason = "inline assembly")]

/// First line of a function in assembly. Such functions are assembled for the target, not for the
/// core that the compiler is told; Armv8-M has these instructions only as an extension.
#[cfg(lowbit_armv8m)]
macro_rules! core_with_dsp {
    () => {
        ".cpu cortex-m33"
    };
}
/// First line of a function in assembly. Every Armv7E-M core has these instructions.
#[cfg(not(lowbit_armv8m))]
macro_rules! core_with_dsp {
    () => {
        ""
    };
}

mod depthwise;
mod dot;
mod duals;
pub(super) mod finish;
mod lanes;

pub(super) use depthwise::{depthwise_copy, depthwise_rows};
pub(super) use dot::dot_2x2;
pub(super) use duals::{DualsProducts, duals_product};
pub(super) use lanes::{LanesProducts, lanes_pack, lanes_product};
