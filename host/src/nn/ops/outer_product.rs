//! Sums over all samples and pixels of products of two images: the gradient of a convolution's
//! weight.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::instructions::arch;
use super::packed::Packed;

/// Columns that one task works on; fixed, so that results do not depend on the number of threads.
const COLUMNS_PER_TASK: usize = 144;

/// `result[row][column] = sum over pixels of left[row][pixel] * right[offsets[column] + pixel]`,
/// for channels `first_left ..` of `left` and positions relative to channel `first_right` of
/// `right`.
pub(super) struct OuterProduct<'a> {
    /// Gradient of the output.
    pub(super) left: &'a Packed,
    /// Row and column of the first pixel of `left`.
    pub(super) left_start: [usize; 2],
    /// Step in `left` from pixel to pixel.
    pub(super) left_stride: usize,
    /// Rows and columns of pixels to sum over.
    pub(super) pixels: [usize; 2],
    /// Input.
    pub(super) right: &'a Packed,
    /// Step in `right` from pixel to pixel.
    pub(super) right_stride: usize,
    /// Channels of `left` to multiply with.
    pub(super) rows: std::ops::Range<usize>,
    /// First channel of `right` that offsets count from.
    pub(super) first_right: usize,
    /// For every column its place in `right`, in vectors.
    pub(super) offsets: &'a [usize],
}

impl OuterProduct<'_> {
    /// `result`, row after row.
    pub(super) fn compute(&self) -> Vec<f32> {
        let row_tile = if wide_registers() { 4 } else { 2 };
        let row_tiles = self.rows.len().div_ceil(row_tile);
        let tasks = self.offsets.len().div_ceil(COLUMNS_PER_TASK) * row_tiles;
        let tiles = (0..tasks).into_par_iter().map(|task| {
            let row = task % row_tiles * row_tile;
            let first = task / row_tiles * COLUMNS_PER_TASK;
            let columns = COLUMNS_PER_TASK.min(self.offsets.len() - first);
            let rows = row_tile.min(self.rows.len() - row);
            let mut sums = vec![0f32; rows * columns];
            arch().dispatch(Task {
                product: self,
                row: self.rows.start + row,
                rows,
                offsets: &self.offsets[first..][..columns],
                sums: &mut sums,
            });
            (row, first, sums)
        });
        let tiles = tiles.collect::<Vec<_>>();
        let width = self.offsets.len();
        let mut result = vec![0f32; self.rows.len() * width];
        for (row, first, sums) in &tiles {
            let columns = COLUMNS_PER_TASK.min(width - first);
            for (index, sums) in sums.chunks_exact(columns).enumerate() {
                result[(row + index) * width + first..][..columns].copy_from_slice(sums);
            }
        }
        result
    }
}

fn wide_registers() -> bool {
    struct Registers;
    impl WithSimd for Registers {
        type Output = usize;

        fn with_simd<S: Simd>(self, _simd: S) -> usize {
            S::REGISTER_COUNT
        }
    }
    arch().dispatch(Registers) >= 32
}

/// A few rows times up to [`COLUMNS_PER_TASK`] columns.
struct Task<'a> {
    product: &'a OuterProduct<'a>,
    row: usize,
    rows: usize,
    offsets: &'a [usize],
    sums: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match (S::REGISTER_COUNT >= 32, self.rows) {
            (true, 4) => self.run::<S, 4, 6>(simd),
            (true, 3) => self.run::<S, 3, 6>(simd),
            (true, 2) => self.run::<S, 2, 9>(simd),
            (true, _) => self.run::<S, 1, 9>(simd),
            (false, 2) => self.run::<S, 2, 4>(simd),
            (false, _) => self.run::<S, 1, 4>(simd),
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize, const COLUMNS: usize>(self, simd: S) {
        let product = self.product;
        for block in 0..product.left.blocks {
            let (left, _) = S::as_simd_f32s(product.left.block(block));
            let (right, _) = S::as_simd_f32s(product.right.block(block));
            for (index, columns) in self.offsets.chunks(COLUMNS).enumerate() {
                // The last tile repeats its last column; what it sums twice is left out below.
                let last = columns.len() - 1;
                let mut offsets = [0; COLUMNS];
                for (position, offset) in offsets.iter_mut().enumerate() {
                    *offset = columns[position.min(last)];
                }
                let tile = product.tile::<S, ROWS, COLUMNS>(simd, left, right, self.row, &offsets);
                for (row, tile) in tile.iter().enumerate() {
                    let start = row * self.offsets.len() + index * COLUMNS;
                    let sums = &mut self.sums[start..][..columns.len()];
                    for (sum, vector) in sums.iter_mut().zip(tile) {
                        *sum += simd.reduce_sum_f32s(*vector);
                    }
                }
            }
        }
    }
}

impl OuterProduct<'_> {
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize, const COLUMNS: usize>(
        &self,
        simd: S,
        left: &[S::f32s],
        right: &[S::f32s],
        row: usize,
        offsets: &[usize; COLUMNS],
    ) -> [[S::f32s; COLUMNS]; ROWS] {
        let mut sums = [[simd.splat_f32s(0.0); COLUMNS]; ROWS];
        let [height, width] = self.pixels;
        let [left_height, left_width] = self.left.size;
        let [right_height, right_width] = self.right.size;
        let first_right = self.first_right * right_height * right_width;
        let left_span = (width - 1) * self.left_stride + 1;
        let right_span = (width - 1) * self.right_stride + 1;
        for y in 0..height {
            let mut lefts = [left; ROWS];
            for (index, slice) in lefts.iter_mut().enumerate() {
                let line = (row + index) * left_height + self.left_start[0] + y * self.left_stride;
                *slice = &left[line * left_width + self.left_start[1]..][..left_span];
            }
            let start = first_right + y * self.right_stride * right_width;
            let mut rights = [right; COLUMNS];
            for (slice, offset) in rights.iter_mut().zip(offsets) {
                *slice = &right[start + offset..][..right_span];
            }
            // Constant strides spare the loop most of its address arithmetic.
            match (self.left_stride, self.right_stride) {
                (1, 1) => {
                    add_products::<S, ROWS, COLUMNS>(simd, &mut sums, lefts, rights, width, [1, 1])
                }
                (2, 1) => {
                    add_products::<S, ROWS, COLUMNS>(simd, &mut sums, lefts, rights, width, [2, 1])
                }
                (l, r) => {
                    add_products::<S, ROWS, COLUMNS>(simd, &mut sums, lefts, rights, width, [l, r])
                }
            }
        }
        sums
    }
}

/// Adds the products of `width` pixels of every row with every column.
#[inline(always)]
fn add_products<S: Simd, const ROWS: usize, const COLUMNS: usize>(
    simd: S,
    sums: &mut [[S::f32s; COLUMNS]; ROWS],
    lefts: [&[S::f32s]; ROWS],
    rights: [&[S::f32s]; COLUMNS],
    width: usize,
    [left_stride, right_stride]: [usize; 2],
) {
    let mut totals = *sums;
    for x in 0..width {
        let mut factors = [simd.splat_f32s(0.0); ROWS];
        for (factor, left) in factors.iter_mut().zip(&lefts) {
            *factor = left[x * left_stride];
        }
        for (column, right) in rights.iter().enumerate() {
            let value = right[x * right_stride];
            for (totals, factor) in totals.iter_mut().zip(&factors) {
                totals[column] = simd.mul_add_f32s(*factor, value, totals[column]);
            }
        }
    }
    *sums = totals;
}
