//! Batches of images against the engine.

use std::ops::ControlFlow;

use lowbit_runtime::batch::{BatchNetwork, IMAGES, Instructions, Workspace};
use lowbit_runtime::calibration::{Moments, Payload, Plan, PlanLayer};
use lowbit_runtime::engine::{Engine, Observer, TensorView};
use lowbit_runtime::format::{Model, Operation};

use super::calibration::different;

/// Every element of every operation's output.
#[derive(Default)]
struct Outputs(Vec<Vec<i32>>);

impl Observer for Outputs {
    fn observe(
        &mut self,
        _: usize,
        operation: &Operation<'_>,
        output: &TensorView<'_>,
    ) -> ControlFlow<()> {
        let spec = operation.output;
        let mut elements = Vec::new();
        for y in 0..spec.height {
            for x in 0..spec.width {
                elements.extend((0..spec.channels).filter_map(|c| output.value(y, x, c)));
            }
        }
        self.0.push(elements);
        ControlFlow::Continue(())
    }
}

/// `pixels` and other images made of the same bytes.
pub(crate) fn turned_images(pixels: &[u8]) -> Vec<Vec<u8>> {
    [0, IMAGES - 1, 1, 2, 7]
        .into_iter()
        .map(|turn| {
            let mut image = pixels.to_vec();
            image.rotate_left(turn % pixels.len());
            image
        })
        .collect()
}

/// What the engine computes of every image: operation after operation all elements.
pub(crate) fn engine_outputs(
    model: &Model<'_>,
    images: &[Vec<u8>],
) -> Result<Vec<Vec<Vec<i32>>>, String> {
    let mut words = vec![0u64; (model.header().arena_bytes as usize).div_ceil(8)];
    let arena = bytemuck::cast_slice_mut(&mut words);
    let mut expected = Vec::new();
    for image in images {
        let mut engine = Engine::new(*model, arena).map_err(|error| error.to_string())?;
        engine.pixels_mut().copy_from_slice(image);
        let mut outputs = Outputs::default();
        engine.run(&mut outputs);
        expected.push(outputs.0);
    }
    Ok(expected)
}

/// Runs images made of `pixels` as batches, with all instructions that this processor has, and
/// compares every element with the engine's.
pub(crate) fn compare(model: &Model<'_>, pixels: &[u8]) -> Result<(), String> {
    let images = turned_images(pixels);
    let expected = engine_outputs(model, &images)?;
    let slices: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
    for instructions in Instructions::ALL
        .into_iter()
        .filter(|set| set.is_available())
    {
        let network = BatchNetwork::with_instructions(*model, instructions);
        let found = network.map_err(|error| error.to_string())?.outputs(&slices);
        for (operation, found) in found.iter().enumerate() {
            for (image, found) in found.iter().enumerate() {
                let needed = &expected[image][operation];
                if found != needed {
                    return Err(format!(
                        "{}, operation {operation}, image {image}\n found {found:?}\nneeded {needed:?}",
                        instructions.name(),
                    ));
                }
            }
        }
    }
    Ok(())
}

/// The moments of every layer are those `expected` of as many equal images, and with the layers of
/// `payload` the logits of each are `needed`.
pub(super) fn compare_calibrated(
    model: &Model<'_>,
    pixels: &[u8],
    payload: &[u8],
    needed: &[i32],
    expected: &dyn Fn(&PlanLayer<'_>) -> Vec<Moments>,
) -> Result<(), String> {
    let images = [pixels; 3];
    let plan = Plan::of(model).unwrap();
    for instructions in Instructions::ALL
        .into_iter()
        .filter(|set| set.is_available())
    {
        let network = BatchNetwork::with_instructions(*model, instructions);
        let mut network = network.map_err(|error| error.to_string())?;
        let workspace = &mut Workspace::default();
        for layer in plan.layers() {
            let mut found = vec![Moments::default(); layer.channels.into()];
            network.collect(&images, workspace, &layer, &mut found);
            let mut all = vec![Moments::default(); layer.channels.into()];
            for (all, one) in all.iter_mut().zip(expected(&layer)) {
                images.iter().for_each(|_| all.merge(&one));
            }
            different(&format!("{}, {layer:?}", instructions.name()), &found, &all)?;
        }
        Payload::new(payload).for_each(|layer| network.correct(&layer));
        let mut found = vec![0; needed.len() * images.len()];
        network.run(&images, workspace, &mut found);
        different(instructions.name(), &found, &needed.repeat(images.len()))?;
    }
    Ok(())
}
