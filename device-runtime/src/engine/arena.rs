//! The caller's memory, cut into tensors.
//!
//! Parts that do not exist come out empty; a checked model names none.

use crate::format::{Scratch, TensorSpec};

/// Memory that starts at a multiple of [`TENSOR_ALIGNMENT`](crate::format::TENSOR_ALIGNMENT).
#[derive(Debug)]
pub(super) struct Arena<'a> {
    bytes: &'a mut [u8],
}

/// What an operation writes, and everything else to read from.
pub(super) struct Parts<'a> {
    pub(super) output: &'a mut [u8],
    pub(super) scratch: &'a mut [u8],
    pub(super) inputs: Unwritten<'a>,
}

/// The arena around what an operation writes.
pub(super) struct Unwritten<'a> {
    segments: [Segment<'a>; 3],
}

/// Bytes that an operation does not write.
#[derive(Debug, Clone, Copy)]
struct Segment<'a> {
    start: usize,
    bytes: &'a [u8],
}

impl<'a> Arena<'a> {
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes }
    }

    /// `length` bytes at `offset`.
    pub(super) fn slice_mut(&mut self, offset: u32, length: usize) -> &mut [u8] {
        let rest = self.bytes.get_mut(offset as usize..);
        rest.and_then(|rest| rest.get_mut(..length))
            .unwrap_or_default()
    }

    /// The elements of a tensor.
    pub(super) fn tensor(&self, spec: &TensorSpec) -> &[u8] {
        part(self.bytes, spec.offset as usize, spec.bytes())
    }

    /// Separates what an operation writes from all that it may read.
    pub(super) fn split(&mut self, output: &TensorSpec, scratch: Scratch) -> Parts<'_> {
        let output = (output.offset as usize, output.bytes());
        let scratch = (scratch.offset as usize, scratch.length as usize);
        let output_first = output.0 <= scratch.0;
        let (low, high) = if output_first {
            (output, scratch)
        } else {
            (scratch, output)
        };
        let (before, rest) = cut(self.bytes, low.0);
        let (first, rest) = cut(rest, low.1);
        let between_start = before.len() + first.len();
        let (between, rest) = cut(rest, high.0.saturating_sub(between_start));
        let (second, after) = cut(rest, high.1);
        let after_start = between_start + between.len() + second.len();
        let unwritten = [(0, before), (between_start, between), (after_start, after)];
        let (output, scratch) = if output_first {
            (first, second)
        } else {
            (second, first)
        };
        Parts {
            output,
            scratch,
            inputs: Unwritten {
                segments: unwritten.map(|(start, bytes)| Segment { start, bytes }),
            },
        }
    }
}

impl<'a> Unwritten<'a> {
    /// `length` bytes of the arena at `offset`.
    pub(super) fn slice(&self, offset: u32, length: usize) -> &'a [u8] {
        let offset = offset as usize;
        let inside = |segment: &Segment<'a>| {
            let from = offset.checked_sub(segment.start)?;
            segment.bytes.get(from..)?.get(..length)
        };
        self.segments.iter().find_map(inside).unwrap_or_default()
    }

    /// The elements of a tensor.
    pub(super) fn tensor(&self, spec: &TensorSpec) -> &'a [u8] {
        self.slice(spec.offset, spec.bytes())
    }
}

fn cut(bytes: &mut [u8], at: usize) -> (&mut [u8], &mut [u8]) {
    bytes.split_at_mut(at.min(bytes.len()))
}

fn part(bytes: &[u8], offset: usize, length: usize) -> &[u8] {
    let rest = bytes.get(offset..);
    rest.and_then(|rest| rest.get(..length)).unwrap_or_default()
}
