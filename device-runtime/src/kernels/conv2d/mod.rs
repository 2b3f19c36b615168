//! Convolution with requantization and a fused residual add.

mod reference;
pub(in crate::kernels) mod tiled;

use crate::arithmetic::{Affine, clamp};
use crate::calibration::Collector;
use crate::format::Convolution;

use super::Kernels;
use super::elements::{Image, ImageMut};
use super::parameters::{Affines, Rows, element};

/// A convolution up to its accumulators.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Kernel, strides, padding and groups.
    pub geometry: &'a Convolution,
    /// The image read, `Code8` or `Value16`.
    pub input: Image<'a>,
    /// The weights.
    pub weights: Rows<'a>,
}

/// What is added before rounding.
#[derive(Debug, Clone, Copy)]
pub enum Addend<'a> {
    /// Nothing.
    None,
    /// A tensor that skips the convolution.
    Identity {
        /// The tensor; `None` if the output lies in its place and still holds it.
        input: Option<Image<'a>>,
        /// Step in rows and columns.
        stride: usize,
        /// Output channel that the tensor's channel 0 is added to.
        channel_offset: usize,
        /// One `i32` per output channel.
        multipliers: &'a [u8],
    },
    /// The accumulators of a second convolution.
    Projection {
        /// The second convolution.
        source: Source<'a>,
        /// One `i32` per output channel.
        multipliers: &'a [u8],
    },
}

/// From accumulators to output values.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a> {
    /// Per output channel.
    pub affines: Affines<'a>,
    /// Smallest output value.
    pub low: i32,
    /// Largest output value.
    pub high: i32,
    /// What is added before rounding.
    pub addend: Addend<'a>,
    /// Where the convolution's accumulators are collected, if they are.
    pub collector: Option<Collector<'a>>,
}

/// Computes `output` with the fastest of `kernels` that suits the operation and has room in
/// `scratch`, which holds at least [`scratch_bytes`](super::scratch_bytes) for one position.
pub fn run(
    kernels: Kernels,
    source: &Source<'_>,
    epilogue: &Epilogue<'_>,
    output: &mut ImageMut<'_>,
    scratch: &mut [u32],
) {
    if kernels == Kernels::Tuned && tiled::run(source, epilogue, output, scratch) {
        return;
    }
    let scratch = bytemuck::must_cast_slice_mut(scratch);
    reference::run(source, epilogue, output, scratch);
}

/// The parameters of one output channel.
#[derive(Debug, Clone, Copy)]
struct Finish {
    affine: Affine,
    addend_multiplier: i32,
    low: i32,
    high: i32,
}

impl Finish {
    /// Whether nothing but the bias counts.
    fn is_constant(&self) -> bool {
        self.affine.multiplier == 0 && self.addend_multiplier == 0
    }

    fn value(&self, sum: i32, addend: i32) -> i32 {
        let addend = i64::from(self.addend_multiplier).wrapping_mul(addend.into());
        clamp(self.affine.apply(sum, addend), self.low, self.high)
    }
}

impl Epilogue<'_> {
    fn finish(&self, channel: usize) -> Finish {
        let addend_multiplier = match self.addend {
            Addend::None => 0,
            Addend::Identity { multipliers, .. } | Addend::Projection { multipliers, .. } => {
                i32::from_le_bytes(element(multipliers, channel))
            }
        };
        Finish {
            affine: self.affines.get(channel),
            addend_multiplier,
            low: self.low,
            high: self.high,
        }
    }
}
