//! Working memory of the operators.

use std::sync::{Mutex, PoisonError};

use bytemuck::{Pod, Zeroable};

/// Numbers on a cache line, which is also the longest vector of any machine. Buffers start at a
/// line, as a vector that lies on two of them takes two accesses.
pub(super) const LINE: usize = 16;

/// Buffers that are kept for the next operator: fresh memory has to be cleared, page by page, which
/// costs a small layer as much as its arithmetic.
const KEPT: usize = 8;

static FREE: Mutex<Vec<Vec<Line>>> = Mutex::new(Vec::new());

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Numbers that start at a cache line.
pub(super) struct Buffer {
    lines: Vec<Line>,
    length: usize,
}

impl Buffer {
    /// Numbers of any value.
    pub(super) fn with_length(length: usize) -> Self {
        let count = length.div_ceil(LINE);
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let large_enough = (0..free.len()).filter(|index| free[*index].len() >= count);
        let smallest = large_enough.min_by_key(|index| free[*index].len());
        let lines = match smallest {
            Some(index) => free.swap_remove(index),
            None => bytemuck::zeroed_vec(count),
        };
        Self { lines, length }
    }

    pub(super) fn as_slice(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.length]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(std::mem::take(&mut self.lines));
        if free.len() > KEPT {
            // The smallest is the cheapest to get again.
            free.sort_unstable_by_key(|lines| std::cmp::Reverse(lines.len()));
            free.truncate(KEPT);
        }
    }
}
