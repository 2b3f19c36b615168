//! What calibration needs.

use super::parts::{Section, equal, range};
use crate::calibration::{Plan, Reference};
use crate::format::{Fault, Kind, Model, PLAN_ENTRY_BYTES, STATISTICS_BYTES};

/// The plan names convolutions in execution order and has statistics for all of their channels.
pub(super) fn check(model: &Model<'_>) -> Result<(), Fault> {
    let calibration = &model.header().calibration;
    let section = Section::of(model);
    let blob = calibration.plan;
    let plan = section.blob("calibration plan", blob, blob.length.into())?;
    let (entries, rest) = plan.as_chunks::<PLAN_ENTRY_BYTES>();
    equal("calibration plan", 0u64, rest.len() as u64)?;
    for [.., fast, reserved_0, reserved_1] in entries {
        range("calibration plan.fast", (*fast).into(), 0, 1)?;
        let reserved = u16::from_le_bytes([*reserved_0, *reserved_1]);
        range("calibration plan.reserved", reserved.into(), 0, 0)?;
    }
    let layers = Plan::of(model);
    let layers = || layers.iter().flat_map(Plan::layers);
    let channels: u64 = layers().map(|layer| u64::from(layer.channels)).sum();
    let statistics = section.blob(
        "calibration statistics",
        calibration.statistics,
        channels * STATISTICS_BYTES as u64,
    )?;
    let found = Plan::checksum_of(plan, statistics);
    if !entries.is_empty() {
        equal("calibration checksum", found, calibration.checksum)?;
    }
    let mut operations = (0u16..).zip(model.operations());
    for layer in layers() {
        // Each search goes on behind the layer before.
        let found = operations.find(|(index, _)| *index == layer.operation);
        let Some((_, operation)) =
            found.filter(|(_, found)| matches!(found.kind, Kind::Conv2d { .. }))
        else {
            return Err(Fault::Kind {
                expected: "a convolution behind the one before it, in the calibration plan,",
            });
        };
        equal(
            "calibration plan.channels",
            operation.output.channels,
            layer.channels,
        )?;
        let shift = layer.shift().into();
        let most = Reference::LARGEST_SHIFT.into();
        range("calibration plan.shift", shift, 0, most)?;
        let references = (0..usize::from(layer.channels)).filter_map(|c| layer.reference(c));
        for reference in references {
            let most = Reference::LARGEST_MEAN;
            range("calibration mean", reference.mean, -most, most)?;
            let variance = i64::try_from(reference.variance).unwrap_or(i64::MAX);
            range(
                "calibration variance",
                variance,
                1,
                Reference::LARGEST_VARIANCE,
            )?;
        }
    }
    Ok(())
}
