//! Accuracy of a float or fake-quantized network.

use candle_core::Tensor;

use super::executor::{BatchStatistics, ForwardOptions, Hooks, forward};
use super::values::tensor;
use super::{Error, Result};
use crate::accuracy::rank;
use crate::data::Dataset;
use crate::graph::{Graph, Normalization};

/// Images per forward pass.
const BATCH: usize = 64;

/// Chosen images as network input `[images, channels, height, width]`.
///
/// # Errors
/// When the normalisation is for another number of channels.
pub fn images(
    dataset: &Dataset,
    indices: &[usize],
    normalization: &Normalization,
) -> Result<Tensor> {
    let [height, width, channels] = dataset.shape;
    if normalization.mean.len() != channels || normalization.std.len() != channels {
        return Err(Error::shape(
            "normalisation",
            format!("{} channels", normalization.mean.len()),
            &dataset.shape,
        ));
    }
    let mut input = vec![0f32; indices.len() * channels * height * width];
    for (image, &index) in input
        .chunks_exact_mut(channels * height * width)
        .zip(indices)
    {
        let pixels = dataset.image(index);
        for (channel, plane) in image.chunks_exact_mut(height * width).enumerate() {
            let (mean, std) = (
                normalization.mean[channel] as f32,
                normalization.std[channel] as f32,
            );
            for (value, pixel) in plane
                .iter_mut()
                .zip(pixels[channel..].iter().step_by(channels))
            {
                *value = (f32::from(*pixel) / 255.0 - mean) / std;
            }
        }
    }
    tensor(input, &[indices.len(), channels, height, width])
}

/// The [`rank`] of each image's label, 0 where the network is right. `progress` is told how many
/// images are done.
///
/// # Errors
/// When the images do not fit the network.
pub fn evaluate(
    graph: &Graph,
    dataset: &Dataset,
    hooks: &mut dyn Hooks,
    mut progress: impl FnMut(usize),
) -> Result<Vec<u16>> {
    let mut ranks = Vec::with_capacity(dataset.len());
    each_batch(graph, dataset, hooks, |batch, logits| {
        let of_images = logits.chunks_exact(logits.len() / batch.len());
        let labels = batch.iter().map(|&image| dataset.labels[image]);
        ranks.extend(
            of_images
                .zip(labels)
                .map(|(logits, label)| rank(logits, label)),
        );
        progress(ranks.len());
    })?;
    Ok(ranks)
}

/// What a network puts out for each image, one row of logits after the other.
///
/// # Errors
/// When the images do not fit the network.
pub fn logits(graph: &Graph, dataset: &Dataset) -> Result<Vec<f32>> {
    let mut all = Vec::new();
    each_batch(graph, dataset, &mut (), |_, logits| {
        all.extend_from_slice(logits)
    })?;
    Ok(all)
}

/// Has `take` see the images of one batch after the other, and their logits.
fn each_batch(
    graph: &Graph,
    dataset: &Dataset,
    hooks: &mut dyn Hooks,
    mut take: impl FnMut(&[usize], &[f32]),
) -> Result<()> {
    let [channels, height, width] = graph.input_shape;
    if dataset.shape != [height, width, channels] {
        return Err(Error::Images {
            dataset: dataset.name.clone(),
            found: dataset.shape,
            expected: [height, width, channels],
        });
    }
    let options = ForwardOptions {
        batch_statistics: BatchStatistics::Running,
        keep_for_backward: false,
        record_batch_norm_inputs: false,
    };
    let all = (0..dataset.len()).collect::<Vec<_>>();
    for batch in all.chunks(BATCH) {
        let input = images(dataset, batch, &graph.normalization)?;
        let input = input.to_device(&graph.placement.device)?;
        let pass = forward(graph, &input, options, hooks)?;
        take(batch, pass.output_values()?);
    }
    Ok(())
}
