//! Weights in the order in which they are read.

use std::array;
use std::vec::Vec;

use super::quads::Corrections;
use super::view::Unit;
use crate::batch::tensor::{Pair, Quad};
use crate::format::Convolution;

/// A convolution up to its accumulators.
#[derive(Debug)]
pub(in crate::batch) struct Source {
    pub(super) input: usize,
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    /// Rows above and columns left of the image.
    pub(super) padding: [usize; 2],
    /// Output channels per tile.
    pub(super) together: usize,
    pub(super) tiles: Vec<Tile>,
    pub(super) weights: Weights,
}

/// Tile after tile `[kernel row][kernel column][unit][channel of the tile]`.
#[derive(Debug)]
pub(super) enum Weights {
    Pairs(Vec<<Pair as Unit>::Weights>),
    Quads(Vec<<Quad as Unit>::Weights>, Corrections),
}

/// Output channels that are computed together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile {
    /// Units of input channels, pairs or quads, that any of them reads.
    pub(super) first: usize,
    pub(super) units: usize,
    /// First weight.
    pub(super) weights: usize,
}

/// Output channels per tile of a convolution. Channels of several groups may share a tile, with
/// weights of 0 for the inputs of the others.
pub(in crate::batch) fn tile_channels(geometry: &Convolution, channels: usize) -> usize {
    let groups = usize::from(geometry.groups).max(1);
    match channels / groups {
        per_group if groups == 1 || per_group.is_multiple_of(4) => 4,
        // Two channels of a depthwise convolution read one pair.
        1 => 2,
        _ => 1,
    }
}

impl Source {
    /// In tiles of `together` output channels. `rows` holds one row of weights per output channel:
    /// kernel row, kernel column, input channel of the group.
    pub(in crate::batch) fn pairs(
        input: usize,
        geometry: &Convolution,
        [channels, together]: [usize; 2],
        rows: &[i16],
    ) -> Self {
        let layout = Layout::new(geometry, channels, rows);
        let weight = |channel, tap, input| layout.weight(channel, tap, input);
        let (tiles, weights) = layout.tiles::<2, i16>(together, weight);
        Self::new(input, geometry, together, tiles, Weights::Pairs(weights))
    }

    pub(super) fn new(
        input: usize,
        geometry: &Convolution,
        together: usize,
        tiles: Vec<Tile>,
        weights: Weights,
    ) -> Self {
        Self {
            input,
            kernel: [geometry.kernel_height, geometry.kernel_width].map(usize::from),
            stride: [geometry.stride_y, geometry.stride_x].map(usize::from),
            padding: [geometry.pad_top, geometry.pad_left].map(usize::from),
            together,
            tiles,
            weights,
        }
    }
}

/// Where the weights of an output channel lie.
pub(super) struct Layout<'a> {
    /// Taps per input channel.
    area: usize,
    group_inputs: usize,
    group_outputs: usize,
    channels: usize,
    rows: &'a [i16],
}

impl<'a> Layout<'a> {
    pub(super) fn new(geometry: &Convolution, channels: usize, rows: &'a [i16]) -> Self {
        let groups = usize::from(geometry.groups).max(1);
        Self {
            area: usize::from(geometry.kernel_height) * usize::from(geometry.kernel_width),
            group_inputs: usize::from(geometry.input.channels) / groups,
            group_outputs: (channels / groups).max(1),
            channels,
            rows,
        }
    }

    /// Tiles of `together` output channels, and their weights in units of `UNIT` input channels.
    pub(super) fn tiles<const UNIT: usize, W>(
        &self,
        together: usize,
        weight: impl Fn(usize, usize, usize) -> W,
    ) -> (Vec<Tile>, Vec<[W; UNIT]>) {
        let (mut tiles, mut weights) = (Vec::new(), Vec::new());
        for first in (0..self.channels).step_by(together) {
            let last = (first + together).min(self.channels) - 1;
            let inputs = self.inputs(first).start..self.inputs(last).end;
            let (start, end) = (inputs.start / UNIT, inputs.end.div_ceil(UNIT));
            tiles.push(Tile {
                first: start,
                units: end - start,
                weights: weights.len(),
            });
            for tap in 0..self.area {
                for unit in start..end {
                    for channel in first..first + together {
                        let weight = |part| weight(channel, tap, UNIT * unit + part);
                        weights.push(array::from_fn(weight));
                    }
                }
            }
        }
        (tiles, weights)
    }

    /// The input channels that an output channel reads.
    fn inputs(&self, channel: usize) -> std::ops::Range<usize> {
        let first = channel / self.group_outputs * self.group_inputs;
        first..first + self.group_inputs
    }

    /// 0 for channels that do not exist or are not read.
    pub(super) fn weight(&self, channel: usize, tap: usize, input: usize) -> i16 {
        let inputs = self.inputs(channel);
        if channel >= self.channels || !inputs.contains(&input) {
            return 0;
        }
        let row = channel * self.area * self.group_inputs;
        self.rows[row + tap * self.group_inputs + input - inputs.start]
    }
}
