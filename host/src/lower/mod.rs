//! Lowering: a quantized graph becomes a program of integers.
//!
//! | file | subject |
//! | --- | --- |
//! | `dead_channels` | channels that are always 0, left out |
//! | `pattern` | which nodes one operation computes |
//! | `weights` | codes in the board's order, packed |
//! | `affine`, `requantize` | BatchNorm, bias and scales as gains and offsets, and those as integers |
//! | `input_table` | pixels to integers |
//! | `operations` | one operation per layer |
//! | `arena`, `placement`, `scratch` | where tensors lie, and what is left for scratch |

mod affine;
mod arena;
mod dead_channels;
mod error;
mod input_table;
mod operations;
mod pattern;
mod placement;
mod program;
mod requantize;
mod scratch;
mod weights;

pub use error::Error;
pub use program::{Blobs, CalibratedLayer, Program, Step};

use crate::graph::QuantizedGraph;

/// What the caller may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Width of the input table's entries, sign included, 2 to 16.
    pub input_bits: u8,
    /// Output rows that every convolution can compute at a time, if it has that many; more where
    /// the arena has room anyway. More are faster, as weights are unpacked less often, and need
    /// more scratch.
    pub tile_rows: u16,
    /// Whether channels that are 0 for every input are left out. The logits stay the same.
    pub remove_dead_channels: bool,
    /// Whether the network can be calibrated on the device: multipliers leave a bit of room for it,
    /// and statistics are kept.
    pub calibration: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            input_bits: 8,
            tile_rows: 4,
            remove_dead_channels: true,
            calibration: false,
        }
    }
}

/// Turns a network with frozen ranges into integer operations with their places in the arena.
///
/// # Errors
/// Names the node or layer that has no integer form, and what would help.
pub fn lower(network: &QuantizedGraph, options: &Options) -> Result<Program, Error> {
    if !(2..=16).contains(&options.input_bits) {
        return Err(Error::InputBits(options.input_bits));
    }
    let reduced;
    let network = if options.remove_dead_channels {
        reduced = dead_channels::remove(network)?;
        &reduced
    } else {
        network
    };
    let layers = pattern::layers(network)?;
    let operations = operations::build(network, &layers, options)?;
    placement::place(network, operations, options)
}
