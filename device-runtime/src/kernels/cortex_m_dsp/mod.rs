//! Inner loops for the DSP instructions of Cortex-M4, M7 and cores with the DSP extension.
#![expect(unsafe_code, reason = "inline assembly")]

mod depthwise;
mod dot;
mod duals;
pub(super) mod finish;
mod lanes;

pub(super) use depthwise::{depthwise_copy, depthwise_rows};
pub(super) use dot::dot_2x2;
pub(super) use duals::{DualsProducts, duals_product};
pub(super) use lanes::{LanesProducts, lanes_pack, lanes_product};
