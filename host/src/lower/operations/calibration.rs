//! What the trained BatchNorm statistics say about the accumulators, as integers.

use lowbit_runtime::calibration::Reference;

use crate::lower::affine::Statistics;

/// One in the units of a reference.
const ONE: f64 = 65536.0;

/// References for all channels of a layer whose accumulators are up to `largest` in size; `None` if
/// the statistics of one are beyond all that accumulators can have.
pub(super) fn references(
    layer: &str,
    statistics: &[Statistics],
    largest: u64,
) -> Option<Vec<Reference>> {
    let shift = Reference::shift_for(largest);
    let unit = f64::from(1u32 << shift);
    let reference = |found: &Statistics| {
        let mean = (found.mean / unit * ONE).round();
        let variance = (found.variance / (unit * unit) * ONE).round().max(1.0);
        let fits = mean.abs() <= Reference::LARGEST_MEAN as f64
            && variance < Reference::LARGEST_VARIANCE as f64;
        fits.then_some(Reference {
            shift,
            mean: mean as i64,
            variance: variance as u64,
        })
    };
    let references: Option<Vec<_>> = statistics.iter().map(reference).collect();
    if references.is_none() {
        tracing::info!(layer, "cannot be calibrated: its statistics are degenerate");
    }
    references
}
