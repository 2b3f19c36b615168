//! Images with the samples innermost: one vector register holds the same pixel of as many samples
//! as it has lanes.
//!
//! ```text
//! [block of samples][channel][row][column][sample of the block]
//! ```
//! In this order a pixel's neighbour, whatever the size of the image, the stride or the padding,
//! is a whole vector, so that a convolution never has to move numbers between lanes. Zeros around
//! the images are stored. Samples that are missing in the last block are zeros too.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::buffer::{Buffer, LINE};
use super::instructions::arch;
use super::transpose::{Transposing, with_transpose};
use crate::graph::Padding;

/// Samples per block on this machine.
pub(super) fn lanes() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;

        fn with_simd<S: Simd>(self, _simd: S) -> usize {
            S::F32_LANES
        }
    }
    arch().dispatch(Lanes)
}

/// Images in the order of this module.
pub(super) struct Packed {
    values: Buffer,
    /// Blocks of samples.
    pub(super) blocks: usize,
    /// Rows and columns, padding included.
    pub(super) size: [usize; 2],
}

impl Packed {
    /// Packs images of shape `[batch, channels, height, width]` with zeros around them.
    pub(super) fn new(images: &[f32], shape: [usize; 4], padding: Padding) -> Self {
        let [batch, channels, height, width] = shape;
        let lanes = lanes();
        let size = [
            height + padding.top + padding.bottom,
            width + padding.left + padding.right,
        ];
        let plane = size[0] * size[1] * lanes;
        let blocks = batch.div_ceil(lanes);
        let mut values = Buffer::with_length(blocks * channels * plane);
        let planes = values.as_mut_slice().par_chunks_exact_mut(plane.max(1));
        planes.enumerate().for_each(|(index, target)| {
            let (first, channel) = (index / channels * lanes, index % channels);
            let samples = lanes.min(batch - first);
            let source = |sample: usize| {
                let start = ((first + sample) * channels + channel) * height * width;
                &images[start..][..height * width]
            };
            let sources = (0..samples).map(source).collect::<Vec<_>>();
            let line = size[1] * lanes;
            let (above, rest) = target.split_at_mut(padding.top * line);
            let (image, below) = rest.split_at_mut(height * line);
            above.fill(0.0);
            below.fill(0.0);
            for (row, target) in image.chunks_exact_mut(line.max(1)).enumerate() {
                let (left, rest) = target.split_at_mut(padding.left * lanes);
                let (target, right) = rest.split_at_mut(width * lanes);
                left.fill(0.0);
                right.fill(0.0);
                interleave(&sources, row * width, target, lanes);
            }
        });
        Self {
            values,
            blocks,

            size,
        }
    }

    /// Numbers of one block of samples.
    pub(super) fn block(&self, block: usize) -> &[f32] {
        let values = self.values.as_slice();
        let length = values.len() / self.blocks.max(1);
        &values[block * length..][..length]
    }
}

/// `target[column * lanes + sample] = sources[sample][start + column]`, 0 for missing samples.
fn interleave(sources: &[&[f32]], start: usize, target: &mut [f32], lanes: usize) {
    if let Ok(sources) = <&[&[f32]; LINE]>::try_from(sources)
        && lanes == LINE
    {
        let (target, _) = target.as_chunks_mut();
        with_transpose(InterleaveLines {
            sources,
            start,
            target,
        });
        return;
    }
    target.fill(0.0);
    let width = target.len() / lanes;
    for (sample, source) in sources.iter().enumerate() {
        let source = &source[start..][..width];
        let target = target[sample..].iter_mut().step_by(lanes);
        for (target, value) in target.zip(source) {
            *target = *value;
        }
    }
}

struct InterleaveLines<'a> {
    sources: &'a [&'a [f32]; LINE],
    start: usize,
    target: &'a mut [[f32; LINE]],
}

impl Transposing for InterleaveLines<'_> {
    #[inline(always)]
    fn run(self, transpose: impl Fn(&mut [[f32; LINE]; LINE])) {
        let mut rows = [&[][..]; LINE];
        for (row, source) in rows.iter_mut().zip(self.sources) {
            *row = &source[self.start..][..self.target.len()];
        }
        let (squares, rest) = self.target.as_chunks_mut::<LINE>();
        for (index, square) in squares.iter_mut().enumerate() {
            for (line, row) in square.iter_mut().zip(&rows) {
                line.copy_from_slice(&row[index * LINE..][..LINE]);
            }
            transpose(square);
        }
        let done = squares.len() * LINE;
        for (column, line) in rest.iter_mut().enumerate() {
            for (value, row) in line.iter_mut().zip(&rows) {
                *value = row[done + column];
            }
        }
    }
}

/// Images of shape `[batch, channels, height, width]` from vectors in the order
/// `[block of samples][row][channel][column][sample of the block]`.
pub(super) fn unpack(packed: &[f32], shape: [usize; 4], lanes: usize) -> Vec<f32> {
    let [batch, channels, height, width] = shape;
    let mut images = vec![0f32; batch * channels * height * width];
    let blocks = batch.div_ceil(lanes);
    let mut targets = (0..blocks * channels)
        .map(|_| Vec::with_capacity(lanes))
        .collect::<Vec<_>>();
    let planes = images.chunks_exact_mut((height * width).max(1));
    for (index, plane) in planes.enumerate() {
        let (sample, channel) = (index / channels, index % channels);
        targets[sample / lanes * channels + channel].push(plane);
    }
    targets
        .par_iter_mut()
        .enumerate()
        .for_each(|(index, planes)| {
            let (block, channel) = (index / channels, index % channels);
            for row in 0..height {
                let line = (block * height + row) * channels + channel;
                let source = &packed[line * width * lanes..][..width * lanes];
                deinterleave(source, planes, row * width, lanes);
            }
        });
    images
}

/// `targets[sample][start + column] = source[column * lanes + sample]`.
fn deinterleave(source: &[f32], targets: &mut [&mut [f32]], start: usize, lanes: usize) {
    let width = source.len() / lanes;
    if targets.len() == LINE && lanes == LINE {
        let (source, _) = source.as_chunks();
        with_transpose(DeinterleaveLines {
            source,
            targets,
            start,
        });
        return;
    }
    for (sample, target) in targets.iter_mut().enumerate() {
        let source = source[sample..].iter().step_by(lanes);
        for (target, value) in target[start..][..width].iter_mut().zip(source) {
            *target = *value;
        }
    }
}

struct DeinterleaveLines<'a, 'b> {
    source: &'a [[f32; LINE]],
    targets: &'a mut [&'b mut [f32]],
    start: usize,
}

impl Transposing for DeinterleaveLines<'_, '_> {
    #[inline(always)]
    fn run(self, transpose: impl Fn(&mut [[f32; LINE]; LINE])) {
        let (squares, rest) = self.source.as_chunks::<LINE>();
        for (index, square) in squares.iter().enumerate() {
            let mut square = *square;
            transpose(&mut square);
            let start = self.start + index * LINE;
            for (target, line) in self.targets.iter_mut().zip(&square) {
                target[start..][..LINE].copy_from_slice(line);
            }
        }
        let start = self.start + squares.len() * LINE;
        for (sample, target) in self.targets.iter_mut().enumerate() {
            let target = &mut target[start..][..rest.len()];
            for (target, line) in target.iter_mut().zip(rest) {
                *target = line[sample];
            }
        }
    }
}
