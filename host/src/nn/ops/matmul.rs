//! Matrix products of strided slices, on one thread.

/// A matrix in a slice.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) values: &'a [f32],
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows one after the other.
    pub(super) const fn rows(values: &'a [f32], columns: usize) -> Self {
        Self {
            values,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// The transpose of a matrix with its rows one after the other.
    pub(super) const fn transposed(values: &'a [f32], columns: usize) -> Self {
        Self {
            values,
            row_stride: 1,
            column_stride: columns,
        }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        let last = (rows - 1) * self.row_stride + (columns - 1) * self.column_stride;
        last < self.values.len()
    }
}

/// `output = left * right` with `output` of `rows` x `columns`, rows one after the other, and
/// `inner` columns of `left`.
///
/// # Panics
/// When a slice is shorter than its matrix.
#[expect(unsafe_code, reason = "the gemm crate takes pointers")]
pub(super) fn matmul(
    (rows, inner, columns): (usize, usize, usize),
    output: &mut [f32],
    left: Matrix<'_>,
    right: Matrix<'_>,
) {
    if rows == 0 || columns == 0 || inner == 0 {
        output.fill(0.0);
        return;
    }
    assert!(
        output.len() >= rows * columns && left.holds(rows, inner) && right.holds(inner, columns)
    );
    // SAFETY: the assertion above keeps every element that gemm touches within its slice, and the
    // output is borrowed mutably, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            output.as_mut_ptr(),
            1,
            columns as isize,
            false,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
