//! One file per operator.
//!
//! # Scratch of a convolution
//! Output positions are processed in tiles. For every position of a tile the scratch holds its patch
//! (all taps of all groups as `i16`), and in front of the patches the unpacked weights of two output
//! channels. A projection adds its own patches and weights. Each row of taps is filled up to a
//! multiple of [`TAP_ALIGNMENT`]. More scratch means larger tiles, and weights that are unpacked
//! less often.

pub mod add;
#[cfg(lowbit_armv6m)]
mod armv6m;
pub mod conv2d;
#[cfg(lowbit_armv7m)]
mod cortex_m_dsp;
mod dot;
mod elements;
pub mod input_table;
mod lanes;
pub mod logits;
mod parameters;
pub mod pool;
#[cfg(lowbit_riscv32m)]
mod riscv32;
#[cfg(lowbit_x86_64_detect)]
mod x86_64;

use crate::format::{Convolution, Kind, Residual, TensorSpec};

pub use elements::{Elements, ElementsMut, Image, ImageMut};
pub use lanes::fastest_layout;
pub use parameters::{Affines, Rows};

/// Which kernels compute an operation. All give the same integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// Those that are written for reading, and for processors with caches and wide vectors.
    Reference,
    /// Those for microcontrollers where there are any for the operation, otherwise the reference.
    Tuned,
}

impl Kernels {
    /// The fastest on the processor that this is compiled for.
    pub const FASTEST: Self = if cfg!(any(target_arch = "arm", target_arch = "riscv32")) {
        Self::Tuned
    } else {
        Self::Reference
    };
}

/// Rows of taps in scratch are filled up with zeros to a multiple of this.
pub const TAP_ALIGNMENT: u64 = 8;

/// Bytes of scratch with which an operation processes `positions` output positions at a time.
/// With `positions` 1 this is the least that a program may provide; 0 for operations that need
/// none.
#[must_use]
pub fn scratch_bytes(kind: &Kind, positions: u32) -> u64 {
    let Kind::Conv2d {
        convolution,
        residual,
        ..
    } = kind
    else {
        return 0;
    };
    let projection = match residual {
        Residual::Projection { convolution, .. } => Some(convolution),
        Residual::None | Residual::Identity { .. } => None,
    };
    let rows = |convolution| {
        let (row, groups) = (row_taps(convolution), u64::from(convolution.groups));
        let patch = row.saturating_mul(groups).saturating_mul(positions.into());
        (row * dot::CHANNELS as u64).saturating_add(patch)
    };
    let taps = rows(convolution).saturating_add(projection.map_or(0, rows));
    taps.saturating_mul(size_of::<i16>() as u64)
}

/// Bytes of scratch with which a convolution computes `rows` rows of `output` at a time by the
/// kernels for microcontrollers; `None` if there are none for the operation. Less makes it slower,
/// not wrong.
#[must_use]
pub fn tuned_scratch_bytes(kind: &Kind, output: &TensorSpec, rows: u16) -> Option<u64> {
    conv2d::tiled::scratch_bytes(kind, output, rows)
}

/// Taps of one output channel, filled up to [`TAP_ALIGNMENT`].
fn row_taps(convolution: &Convolution) -> u64 {
    convolution.taps().next_multiple_of(TAP_ALIGNMENT)
}
