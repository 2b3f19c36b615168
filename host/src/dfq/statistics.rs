//! The loss on the statistics of the teacher's BatchNorm inputs.
//!
//! ```text
//! BNS = (1/L) sum_l [ mean_c (mean - running_mean)^2 / u_l + mean_c (var - running_var)^2 / u_l^2 ]
//! ```
//! over the `L` BatchNorm nodes of the teacher, with the biased variance of the batch. The units
//! `u_l` are 1 for networks that read normalised images, as in the paper.

use candle_core::{Device, Tensor};

use super::Result;
use crate::nn::executor::ChannelGradient;

/// Statistics of one BatchNorm input beside those of the training data, one number per channel.
#[derive(Debug, Clone, Copy)]
pub struct LayerStatistics<'a> {
    /// Of the batch, over samples, rows and columns.
    pub mean: &'a [f32],
    /// Biased, of the batch.
    pub var: &'a [f32],
    /// Of the training data.
    pub running_mean: &'a [f32],
    /// Of the training data.
    pub running_var: &'a [f32],
    /// Values per channel that the batch's statistics were taken over.
    pub values_per_channel: usize,
    /// Variance that counts as 1.
    pub unit: f64,
}

/// The loss, and the gradient of `weight` times the loss with respect to every layer's input.
///
/// # Errors
/// If a tensor cannot be made.
pub fn batch_norm_loss(
    layers: &[LayerStatistics<'_>],
    weight: f64,
) -> Result<(f64, Vec<ChannelGradient>)> {
    let per_layer = 1.0 / layers.len() as f64;
    let value = layers
        .iter()
        .map(|layer| per_layer * layer_loss(layer))
        .sum();
    let gradients = layers
        .iter()
        .map(|layer| layer_gradient(layer, weight * per_layer))
        .collect::<Result<_>>()?;
    Ok((value, gradients))
}

fn layer_loss(layer: &LayerStatistics<'_>) -> f64 {
    mean_square_difference(layer.mean, layer.running_mean) / layer.unit
        + mean_square_difference(layer.var, layer.running_var) / layer.unit.powi(2)
}

fn mean_square_difference(a: &[f32], b: &[f32]) -> f64 {
    let squares = a.iter().zip(b).map(|(&a, &b)| difference(a, b).powi(2));
    squares.sum::<f64>() / a.len() as f64
}

fn layer_gradient(layer: &LayerStatistics<'_>, weight: f64) -> Result<ChannelGradient> {
    let channels = layer.mean.len();
    let factor = weight / (channels * layer.values_per_channel) as f64;
    let (offset, slope): (Vec<f32>, Vec<f32>) = (0..channels)
        .map(|c| {
            let of_mean = 2.0 * difference(layer.mean[c], layer.running_mean[c]) / layer.unit;
            let of_var = 4.0 * difference(layer.var[c], layer.running_var[c]) / layer.unit.powi(2);
            let offset = factor * (of_mean - of_var * f64::from(layer.mean[c]));
            (offset as f32, (factor * of_var) as f32)
        })
        .unzip();
    Ok(ChannelGradient {
        offset: Tensor::from_vec(offset, channels, &Device::Cpu)?,
        slope: Tensor::from_vec(slope, channels, &Device::Cpu)?,
    })
}

fn difference(a: f32, b: f32) -> f64 {
    f64::from(a) - f64::from(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dfq::golden::{Golden, assert_close, assert_norm, flat};

    #[test]
    fn loss_and_gradient_match_golden() {
        let Some(golden) = Golden::open("losses") else {
            return;
        };
        let key = |layer: usize, part: &str| format!("bns.{layer}.{part}");
        let read = |part: &str| -> Vec<Vec<f32>> {
            (0..3).map(|layer| golden.f32(&key(layer, part))).collect()
        };
        let (mean, var) = (read("mean"), read("var"));
        let (running_mean, running_var) = (read("running_mean"), read("running_var"));
        let inputs = read("x");
        let layers: Vec<LayerStatistics<'_>> = (0..3)
            .map(|layer| LayerStatistics {
                mean: &mean[layer],
                var: &var[layer],
                running_mean: &running_mean[layer],
                running_var: &running_var[layer],
                values_per_channel: inputs[layer].len() / mean[layer].len(),
                unit: 1.0,
            })
            .collect();

        let (value, gradients) = batch_norm_loss(&layers, 1.0).unwrap();
        assert_close("bns.loss", &[value], &golden.f32("bns.loss"), 0.0, 1e-5);
        for (layer, gradient) in gradients.iter().enumerate() {
            let channels = mean[layer].len();
            let (offset, slope) = (flat(&gradient.offset), flat(&gradient.slope));
            let plane = inputs[layer].len() / (4 * channels);
            let got: Vec<f32> = inputs[layer]
                .chunks(plane)
                .enumerate()
                .flat_map(|(index, plane)| {
                    let c = index % channels;
                    let (offset, slope) = (offset[c], slope[c]);
                    plane.iter().map(move |x| offset + slope * x)
                })
                .collect();
            let key = key(layer, "grad_x");
            assert_norm(&key, &got, &golden.f32(&key), 1e-4);
        }
    }

    #[test]
    fn only_ratios_to_the_unit_count() {
        let of = |numbers: [f32; 2], scale: f32| numbers.map(|number| number * scale);
        let loss = |scale: f32| {
            let variance = scale * scale;
            let layer = LayerStatistics {
                mean: &of([0.5, -1.0], scale),
                var: &of([2.0, 0.25], variance),
                running_mean: &of([0.0, 1.0], scale),
                running_var: &of([1.0, 1.0], variance),
                values_per_channel: 8,
                unit: variance.into(),
            };
            let (value, gradients) = batch_norm_loss(&[layer], 1.0).unwrap();
            let offset = of(flat(&gradients[0].offset).try_into().unwrap(), scale);
            let slope = of(flat(&gradients[0].slope).try_into().unwrap(), variance);
            (value, offset, slope)
        };
        assert_eq!(loss(64.0), loss(1.0));
        // (0.5^2 + 2^2 + 1^2 + 0.75^2) / 2
        assert_eq!(loss(1.0).0, 2.90625);
    }
}
