//! Moments of accumulators against plain sums, and records that change some layers.

use lowbit_runtime::calibration::{
    Corrections, Moments, Passes, Plan, PlanLayer, Reference, Weights, finish_pass,
};
use lowbit_runtime::engine::Engine;
use lowbit_runtime::format::{Calibration, Model};
use lowbit_runtime::kernels::Kernels;

use super::File;
use super::reference::Plain;

/// Adds a plan with every convolution; `sums` are their accumulators.
pub(super) fn write(file: &mut File, sums: &[(u16, Plain)]) -> Calibration {
    let (mut plan, mut statistics) = (Vec::new(), Vec::new());
    for (operation, sums) in sums {
        let shift = (operation % 4) as u8;
        let channels = sums.channels as u16;
        let fast = operation.is_multiple_of(2);
        plan.extend(PlanLayer::entry(*operation, channels, shift, fast));
        for channel in 0..i64::from(channels) {
            let reference = Reference {
                shift,
                mean: (channel - 2) << 20,
                variance: 1 << 28,
            };
            statistics.extend(reference.encode());
        }
    }
    if plan.is_empty() {
        return Calibration::default();
    }
    Calibration {
        checksum: Plan::checksum_of(&plan, &statistics),
        plan: file.push(&plan),
        statistics: file.push(&statistics),
    }
}

fn expected(sums: &Plain, shift: u8) -> Vec<Moments> {
    let mut moments = vec![Moments::default(); sums.channels];
    for (index, sum) in sums.values.iter().enumerate() {
        let half = if shift == 0 { 0 } else { 1 << (shift - 1) };
        let element = (sum + half) >> shift;
        let place = &mut moments[index % sums.channels];
        place.sum += element;
        place.squares += (element * element) as u64;
    }
    moments
}

/// Every layer's moments are those of the plain sums, a record with the factory's parameters changes
/// nothing, and one with others changes the same everywhere.
pub(super) fn compare(
    model: &Model<'_>,
    pixels: &[u8],
    sums: &[(u16, Plain)],
) -> Result<(), String> {
    let Some(plan) = Plan::of(model) else {
        return Ok(());
    };
    let (mut factory, mut other) = (Vec::new(), Vec::new());
    for (layer, (_, sums)) in plan.passes(Passes::Exact).zip(sums) {
        let needed = expected(sums, layer.shift());
        for kernels in [Kernels::Reference, Kernels::Tuned] {
            let found = moments(model, kernels, pixels, &layer);
            different(&format!("{kernels:?}, {layer:?}"), &found, &needed)?;
        }
        for (payload, images) in [(&mut factory, 0), (&mut other, 1)] {
            let weights = Weights {
                positions: layer.positions(model),
                images,
                prior: 1,
            };
            let mut memory = vec![0; layer.memory_bytes()];
            let sums: &[u8] = bytemuck::cast_slice(&needed);
            memory[..sums.len()].copy_from_slice(sums);
            finish_pass(model, &layer, &weights, &mut memory).unwrap();
            payload.extend_from_slice(&memory[..layer.payload_bytes()]);
        }
    }
    let factory =
        [&[][..], &factory].map(|payload| logits(model, Kernels::Reference, pixels, payload));
    different("factory", &factory[1], &factory[0])?;
    let needed = logits(model, Kernels::Reference, pixels, &other);
    different(
        "tuned",
        &logits(model, Kernels::Tuned, pixels, &other),
        &needed,
    )?;
    #[cfg(all(feature = "std", feature = "_test"))]
    super::batch::compare_calibrated(model, pixels, &other, &needed, &|layer| {
        let found = sums
            .iter()
            .find(|(operation, _)| *operation == layer.operation);
        expected(&found.unwrap().1, layer.shift())
    })?;
    Ok(())
}

pub(super) fn different<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &T,
    needed: &T,
) -> Result<(), String> {
    if found == needed {
        return Ok(());
    }
    Err(format!("{what}\n found {found:?}\nneeded {needed:?}"))
}

fn engine<R>(
    model: &Model<'_>,
    kernels: Kernels,
    pixels: &[u8],
    payload: &[u8],
    run: impl FnOnce(&mut Engine<'_, '_>) -> R,
) -> R {
    let mut words = vec![0u64; (model.header().arena_bytes as usize).div_ceil(8)];
    let arena = bytemuck::cast_slice_mut(&mut words);
    let plan = Plan::of(model).unwrap();
    let corrections = Corrections::new_checked(&plan, payload).unwrap();
    let engine = Engine::with_kernels(*model, arena, kernels).unwrap();
    let mut engine = engine.with_corrections(corrections);
    engine.pixels_mut().copy_from_slice(pixels);
    run(&mut engine)
}

fn moments(
    model: &Model<'_>,
    kernels: Kernels,
    pixels: &[u8],
    layer: &PlanLayer<'_>,
) -> Vec<Moments> {
    let mut moments = vec![Moments::default(); layer.channels.into()];
    engine(model, kernels, pixels, &[], |engine| {
        engine.collect(layer, &mut moments)
    });
    moments
}

fn logits(model: &Model<'_>, kernels: Kernels, pixels: &[u8], payload: &[u8]) -> Vec<i32> {
    engine(model, kernels, pixels, payload, |engine| {
        engine.run(&mut ()).unwrap().as_slice().to_vec()
    })
}
