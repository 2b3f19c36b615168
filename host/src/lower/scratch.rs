//! How much scratch a convolution is given.

use lowbit_runtime::format::{Kind, TensorSpec};
use lowbit_runtime::kernels::{scratch_bytes, tuned_scratch_bytes};

/// Positions per output row for operations that only the reference kernels compute.
const REFERENCE_POSITIONS: u32 = 2;

/// Bytes with which a board computes `rows` rows of `output` at a time.
pub(super) fn bytes(kind: &Kind, output: &TensorSpec, rows: u16) -> u64 {
    let rows = rows.clamp(1, output.height);
    let least = scratch_bytes(kind, 1);
    match tuned_scratch_bytes(kind, output, rows) {
        Some(bytes) => bytes.max(least),
        None => {
            let most = u32::from(output.height) * u32::from(output.width);
            scratch_bytes(kind, most.min(u32::from(rows) * REFERENCE_POSITIONS))
        }
    }
}
