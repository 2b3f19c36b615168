//! Images with the samples innermost: one vector register holds the same pixel of as many samples
//! as it has lanes.
//!
//! ```text
//! [block of samples][channel][row][column][sample of the block]
//! ```
//! In this order a pixel's neighbour, whatever the size of the image, the stride or the padding,
//! is a whole vector, so that a convolution never has to move numbers between lanes. Zeros around
//! the images are stored. Samples that are missing in the last block are zeros too.

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use super::vectorized;
use crate::graph::Padding;

/// Longest vector of any machine, in numbers; also the length of a cache line. Buffers start at a
/// multiple of it, as a vector that lies on two cache lines takes two accesses.
const LINE: usize = 16;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Numbers that start at a cache line.
pub(super) struct Buffer {
    lines: Vec<Line>,
    length: usize,
}

impl Buffer {
    pub(super) fn zeros(length: usize) -> Self {
        let lines = bytemuck::zeroed_vec(length.div_ceil(LINE));
        Self { lines, length }
    }

    pub(super) fn as_slice(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.length]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.length]
    }
}

/// Samples per block on this machine.
pub(super) fn lanes() -> usize {
    struct Lanes;
    impl pulp::WithSimd for Lanes {
        type Output = usize;

        fn with_simd<S: pulp::Simd>(self, _simd: S) -> usize {
            S::F32_LANES
        }
    }
    pulp::Arch::new().dispatch(Lanes)
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
        let mut values = Buffer::zeros(blocks * channels * plane);
        let planes = values.as_mut_slice().par_chunks_exact_mut(plane.max(1));
        planes.enumerate().for_each(|(index, target)| {
            let (first, channel) = (index / channels * lanes, index % channels);
            let samples = lanes.min(batch - first);
            let source = |sample: usize| {
                let start = ((first + sample) * channels + channel) * height * width;
                &images[start..][..height * width]
            };
            let sources = (0..samples).map(source).collect::<Vec<_>>();
            for row in 0..height {
                let start = ((row + padding.top) * size[1] + padding.left) * lanes;
                let target = &mut target[start..][..width * lanes];
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
        let length = self.values.length / self.blocks.max(1);
        &self.values.as_slice()[block * length..][..length]
    }
}

/// `target[column * lanes + sample] = sources[sample][start + column]`.
fn interleave(sources: &[&[f32]], start: usize, target: &mut [f32], lanes: usize) {
    let width = target.len() / lanes;
    if let Ok(sources) = <&[&[f32]; LINE]>::try_from(sources)
        && lanes == LINE
    {
        let (target, _) = target.as_chunks_mut::<LINE>();
        vectorized(|| interleave_lines(sources, start, target));
        return;
    }
    for (sample, source) in sources.iter().enumerate() {
        let source = &source[start..][..width];
        let target = target[sample..].iter_mut().step_by(lanes);
        for (target, value) in target.zip(source) {
            *target = *value;
        }
    }
}

#[inline(always)]
fn interleave_lines(sources: &[&[f32]; LINE], start: usize, target: &mut [[f32; LINE]]) {
    let mut rows = [&[][..]; LINE];
    for (row, source) in rows.iter_mut().zip(sources) {
        *row = &source[start..][..target.len()];
    }
    for (column, line) in target.iter_mut().enumerate() {
        for (value, row) in line.iter_mut().zip(&rows) {
            *value = row[column];
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
    if lanes == LINE {
        let (source, _) = source.as_chunks::<LINE>();
        vectorized(|| {
            for (sample, target) in targets.iter_mut().enumerate() {
                let target = &mut target[start..][..width];
                for (target, line) in target.iter_mut().zip(source) {
                    *target = line[sample];
                }
            }
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
