//! Inner loops for the DSP instructions of Cortex-M4, M7 and cores with the DSP extension. `lanes`,
//! `finish` and `unpack` need no more than Armv7-M, and serve Cortex-M3 too.
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

#[cfg(lowbit_cortex_m_dsp)]
mod add;
#[cfg(lowbit_cortex_m_dsp)]
mod depthwise;
#[cfg(lowbit_cortex_m_dsp)]
mod dot;
#[cfg(lowbit_cortex_m_dsp)]
mod duals;
pub(super) mod finish;
mod lanes;
#[cfg(lowbit_cortex_m_dsp)]
mod quads;
mod unpack;
#[cfg(not(lowbit_cortex_m_dsp))]
mod wide;

#[cfg(lowbit_cortex_m_dsp)]
pub(super) use add::{Addition, add_words};
#[cfg(lowbit_cortex_m_dsp)]
pub(super) use depthwise::{depthwise_copy, depthwise_rows};
#[cfg(lowbit_cortex_m_dsp)]
pub(super) use dot::dot_2x2;
#[cfg(lowbit_cortex_m_dsp)]
pub(super) use duals::{DualsProducts, duals_product};
pub(super) use lanes::{LanesProducts, lanes_pack, lanes_product};
#[cfg(lowbit_cortex_m_dsp)]
pub(super) use quads::{quads_pack, quads_unpack};
pub(super) use unpack::lanes_unpack;
#[cfg(not(lowbit_cortex_m_dsp))]
pub(super) use wide::wide_pack;
