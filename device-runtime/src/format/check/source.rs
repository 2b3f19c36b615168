//! Where a tensor that an operation reads comes from, and how large its values are.

use super::parts::{Named, Section, values};
use crate::format::{Fault, Kind, Model, Operation, TensorSpec};

/// The largest size of a value in `input`, which operation `index` reads.
///
/// Walks the operations before it: the last one that writes any byte of `input` must write exactly
/// this tensor.
pub(super) fn magnitude(
    model: &Model<'_>,
    index: u16,
    field: &'static str,
    input: &TensorSpec,
) -> Result<u64, Fault> {
    let mut found = None;
    for operation in model.operations().take(index.into()) {
        if operation.output == *input {
            found = Some(operation);
        } else if writes(&operation, &Named::tensor(field, input)) {
            found = None;
        }
    }
    match found {
        Some(operation) => Ok(output_magnitude(model, &operation)),
        None => Err(Fault::Unwritten { field }),
    }
}

fn writes(operation: &Operation<'_>, part: &Named) -> bool {
    let scratch = match operation.kind {
        Kind::Conv2d { scratch, .. } => scratch,
        _ => Default::default(),
    };
    Named::tensor("output", &operation.output).overlaps(part)
        || Named::new("scratch", scratch.offset, scratch.length.into()).overlaps(part)
}

/// The largest size of a value that a checked operation writes.
fn output_magnitude(model: &Model<'_>, operation: &Operation<'_>) -> u64 {
    let ends = |low: i32, high: i32| low.unsigned_abs().max(high.unsigned_abs()).into();
    match &operation.kind {
        Kind::InputTable { table, .. } => Section::of(model)
            .blob("table", *table, table.length.into())
            .map_or(0, table_magnitude),
        Kind::Conv2d { requantize, .. } => ends(requantize.low, requantize.high),
        Kind::Add { low, high, .. } | Kind::AveragePool { low, high, .. } => ends(*low, *high),
        Kind::SumPool { input, window, .. } => {
            let area = window.iter().copied().map(u64::from).product::<u64>();
            area * spec_magnitude(input)
        }
        Kind::MaxPool { .. } | Kind::Logits { .. } => spec_magnitude(&operation.output),
    }
}

fn table_magnitude(table: &[u8]) -> u64 {
    let entries = table.as_chunks().0.iter();
    entries
        .map(|&entry| i16::from_le_bytes(entry).unsigned_abs().into())
        .max()
        .unwrap_or_default()
}

/// The largest size of a value that the element type holds.
fn spec_magnitude(spec: &TensorSpec) -> u64 {
    let (low, high) = values(spec);
    low.unsigned_abs().max(high.unsigned_abs())
}
