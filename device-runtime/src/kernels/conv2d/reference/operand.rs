//! A convolution with its part of scratch.

use super::Source;
use super::patches::Place;
use crate::kernels::dot::{self, CHANNELS, POSITIONS};
use crate::kernels::row_taps;

impl Source<'_> {
    /// Input channels per group.
    pub(super) fn group_channels(&self) -> usize {
        self.input
            .channels
            .checked_div(self.geometry.groups.into())
            .unwrap_or_default()
    }

    /// Elements of scratch for unpacked weights.
    pub(super) fn weights_room(&self) -> usize {
        row_taps(self.geometry) as usize * CHANNELS
    }

    /// Elements of scratch for the patch of one position.
    pub(super) fn patch_room(&self) -> usize {
        row_taps(self.geometry) as usize * usize::from(self.geometry.groups)
    }
}

/// A convolution, unpacked weights of [`CHANNELS`] output channels and the patches of a tile.
pub(super) struct Operand<'a> {
    source: Source<'a>,
    /// Elements of a row of weights, or of one group of a patch.
    row: usize,
    /// Output channels per group.
    group_outputs: usize,
    /// Rows of weights.
    weights: &'a mut [i16],
    /// Position after position, within it group after group.
    patches: &'a mut [i16],
}

impl<'a> Operand<'a> {
    /// Takes the front of `scratch`, enough for `tile` positions, and returns the rest.
    pub(super) fn new(
        source: Source<'a>,
        outputs: usize,
        tile: usize,
        scratch: &'a mut [i16],
    ) -> (Self, &'a mut [i16]) {
        let (weights, scratch) = take(scratch, source.weights_room());
        let (patches, scratch) = take(scratch, source.patch_room().saturating_mul(tile));
        let groups = usize::from(source.geometry.groups);
        let operand = Self {
            source,
            row: row_taps(source.geometry) as usize,
            group_outputs: outputs.checked_div(groups).unwrap_or(1).max(1),
            weights,
            patches,
        };
        (operand, scratch)
    }

    /// The group that output channel `channel` belongs to.
    pub(super) fn group(&self, channel: usize) -> usize {
        channel.checked_div(self.group_outputs).unwrap_or_default()
    }

    /// Gathers the patches of `count` positions from `place` on in an output of `width` columns;
    /// returns the place behind them.
    pub(super) fn gather(&mut self, mut place: Place, count: usize, width: usize) -> Place {
        let mut rows = self.patches.chunks_exact_mut(self.row.max(1));
        for _ in 0..count {
            for (group, row) in (0..self.source.geometry.groups).zip(&mut rows) {
                self.source.gather(group.into(), place, row);
            }
            place = place.next(width);
        }
        place
    }

    /// Unpacks the weights of `count` output channels from `channel` on.
    pub(super) fn unpack(&mut self, channel: usize, count: usize) {
        let rows = self.weights.chunks_exact_mut(self.row.max(1));
        for (channel, row) in (channel..).zip(rows).take(count) {
            self.source.weights.unpack(channel, row);
        }
    }

    /// Sums of products of the unpacked weights, which start at output channel `channel`, with the
    /// patches from `position` on. Sums of positions from `count` on mean nothing.
    pub(super) fn sums(
        &self,
        channel: usize,
        position: usize,
        count: usize,
    ) -> [[i32; CHANNELS]; POSITIONS] {
        let group = self.group(channel);
        let groups = usize::from(self.source.geometry.groups);
        let weights = core::array::from_fn(|index| part(self.weights, index, self.row));
        let patches = core::array::from_fn(|index| {
            let position = (position + index).min(count - 1);
            part(self.patches, position * groups + group, self.row)
        });
        dot::block(weights, patches)
    }
}

/// Row `index` of rows of `length` elements; empty behind the last.
fn part(rows: &[i16], index: usize, length: usize) -> &[i16] {
    let rest = rows.get(index * length..);
    rest.and_then(|rest| rest.get(..length)).unwrap_or_default()
}

/// The first `length` elements, as many as there are, and the rest.
fn take(slice: &mut [i16], length: usize) -> (&mut [i16], &mut [i16]) {
    slice.split_at_mut(length.min(slice.len()))
}
