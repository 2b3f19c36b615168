//! Batch normalisation, with stored statistics or those of the batch.

use candle_core::Tensor;
use rayon::prelude::*;

use super::slices::{combine, normalize, squared_distance, sum, sum_and_products};
use crate::graph::BatchNorm;
use crate::nn::executor::ChannelGradient;
use crate::nn::values::{tensor, values};
use crate::nn::{Error, Result};

/// Mean and biased variance per channel over batch, rows and columns.
#[derive(Debug, Clone)]
pub struct BatchMoments {
    /// `[channels]`.
    pub mean: Tensor,
    /// `[channels]`.
    pub var: Tensor,
}

/// Batch, channels and elements per channel and image.
#[derive(Clone, Copy)]
struct Planes {
    batch: usize,
    channels: usize,
    size: usize,
}

impl Planes {
    fn of(input: &Tensor, channels: usize) -> Result<Self> {
        let planes = match *input.dims() {
            [batch, found, height, width] => Self {
                batch,
                channels: found,
                size: height * width,
            },
            [batch, found] => Self {
                batch,
                channels: found,
                size: 1,
            },
            _ => {
                return Err(Error::shape(
                    "batch_norm",
                    "an image or rows of features",
                    input.dims(),
                ));
            }
        };
        if planes.channels != channels {
            return Err(Error::shape(
                "batch_norm",
                format!("{channels} channels"),
                input.dims(),
            ));
        }
        Ok(planes)
    }

    fn per_channel(&self) -> f32 {
        (self.batch * self.size) as f32
    }

    /// The planes of one channel, image after image.
    fn channel<'a>(
        &self,
        values: &'a [f32],
        channel: usize,
    ) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        let size = self.size;
        values
            .chunks_exact(self.channels * size)
            .map(move |image| &image[channel * size..][..size])
    }
}

/// Mean and variance of what the layer reads. The mean comes first and is subtracted before
/// squaring, as single precision would lose the variance of a channel with a large mean.
///
/// # Errors
/// When the shapes do not fit.
pub fn moments(input: &Tensor, channels: usize) -> Result<BatchMoments> {
    let planes = Planes::of(input, channels)?;
    let x = values(input)?;
    let x: &[f32] = &x;
    let (mean, var): (Vec<_>, Vec<_>) = (0..channels)
        .into_par_iter()
        .map(|channel| {
            let total = planes.channel(x, channel).map(sum).sum::<f32>();
            let mean = total / planes.per_channel();
            let squares = planes
                .channel(x, channel)
                .map(|plane| squared_distance(plane, mean));
            (mean, squares.sum::<f32>() / planes.per_channel())
        })
        .unzip();
    Ok(BatchMoments {
        mean: tensor(mean, &[channels])?,
        var: tensor(var, &[channels])?,
    })
}

/// `1 / sqrt(variance + eps)` per channel.
fn inverse_deviation(norm: &BatchNorm, variance: &[f32]) -> Vec<f32> {
    variance
        .iter()
        .map(|variance| 1.0 / (variance + norm.eps as f32).sqrt())
        .collect()
}

fn optional(tensor: Option<&Tensor>, channels: usize, default: f32) -> Result<Vec<f32>> {
    match tensor {
        Some(tensor) => Ok(values(tensor)?.to_vec()),
        None => Ok(vec![default; channels]),
    }
}

/// Number of channels that the layer normalises.
///
/// # Errors
/// When the stored mean is no vector.
pub fn channels(norm: &BatchNorm) -> Result<usize> {
    Ok(norm.running_mean.dims1()?)
}

/// Mean and variance to normalise with: those of the batch if given, the stored ones otherwise.
fn statistics(norm: &BatchNorm, batch: Option<&BatchMoments>) -> Result<(Vec<f32>, Vec<f32>)> {
    let (mean, var) = match batch {
        Some(moments) => (&moments.mean, &moments.var),
        None => (&norm.running_mean, &norm.running_var),
    };
    Ok((values(mean)?.to_vec(), values(var)?.to_vec()))
}

/// Normalises with `batch` moments if given, with the stored ones otherwise.
///
/// # Errors
/// When the shapes do not fit.
pub fn forward(norm: &BatchNorm, batch: Option<&BatchMoments>, input: &Tensor) -> Result<Tensor> {
    let channels = channels(norm)?;
    let planes = Planes::of(input, channels)?;
    let (mean, variance) = statistics(norm, batch)?;
    let inverse = inverse_deviation(norm, &variance);
    let gamma = optional(norm.weight.as_ref(), channels, 1.0)?;
    let beta = optional(norm.bias.as_ref(), channels, 0.0)?;
    let x = values(input)?;
    let mut output = vec![0f32; x.len()];
    let image = channels * planes.size;
    output
        .par_chunks_mut(image)
        .zip(x.par_chunks(image))
        .for_each(|(output, input)| {
            let pairs = output
                .chunks_exact_mut(planes.size)
                .zip(input.chunks_exact(planes.size));
            for (channel, (output, input)) in pairs.enumerate() {
                let scale = gamma[channel] * inverse[channel];
                normalize(output, input, mean[channel], scale, beta[channel]);
            }
        });
    tensor(output, input.dims())
}

/// Which gradients are to be computed.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// With respect to the input.
    pub input: bool,
    /// With respect to gamma and beta.
    pub parameters: bool,
}

/// Gradients with respect to input, gamma and beta, as far as wanted.
#[derive(Debug, Default)]
pub struct Gradients {
    /// Shape of the input.
    pub input: Option<Tensor>,
    /// `[channels]`.
    pub weight: Option<Tensor>,
    /// `[channels]`.
    pub bias: Option<Tensor>,
}

/// Backward pass; `batch` as in [`forward`]. Stored statistics are constants, those of the batch
/// depend on the input. `extra` is added to the gradient at the input.
///
/// # Errors
/// When the shapes do not fit.
pub fn backward(
    norm: &BatchNorm,
    batch: Option<&BatchMoments>,
    input: &Tensor,
    gradient: &Tensor,
    extra: Option<&ChannelGradient>,
    wanted: Wanted,
) -> Result<Gradients> {
    let channels = channels(norm)?;
    let planes = Planes::of(input, channels)?;
    let (mean, variance) = statistics(norm, batch)?;
    let inverse = inverse_deviation(norm, &variance);
    let gamma = optional(norm.weight.as_ref(), channels, 1.0)?;
    let (x, g) = (values(input)?, values(gradient)?);
    let (x, g): (&[f32], &[f32]) = (&x, &g);

    // Sum of g and of g * (x - mean) / deviation: the gradients of beta and gamma.
    let sums = if wanted.parameters || batch.is_some() {
        let channel_sums = |channel: usize| {
            let pairs = planes.channel(g, channel).zip(planes.channel(x, channel));
            let (plain, product) = pairs.fold((0f32, 0f32), |(plain, product), (g, x)| {
                let sums = sum_and_products(g, x, mean[channel]);
                (plain + sums.0, product + sums.1)
            });
            (plain, product * inverse[channel])
        };
        (0..channels)
            .into_par_iter()
            .map(channel_sums)
            .collect::<Vec<_>>()
    } else {
        Vec::new()
    };

    let mut gradients = Gradients::default();
    if wanted.parameters {
        let (beta, gamma): (Vec<_>, Vec<_>) = sums.iter().copied().unzip();
        gradients.weight = norm
            .weight
            .is_some()
            .then(|| tensor(gamma, &[channels]))
            .transpose()?;
        gradients.bias = norm
            .bias
            .is_some()
            .then(|| tensor(beta, &[channels]))
            .transpose()?;
    }
    if wanted.input {
        let extra = extra
            .map(|extra| Ok::<_, Error>((values(&extra.slope)?, values(&extra.offset)?)))
            .transpose()?;
        // Per channel the gradient is `scale * g + slope * x + offset`.
        let coefficients = (0..channels).map(|channel| {
            let scale = gamma[channel] * inverse[channel];
            let (mut slope, mut offset) = (0.0, 0.0);
            if batch.is_some() {
                let (plain, product) = sums[channel];
                slope = -scale * inverse[channel] * product / planes.per_channel();
                offset = -scale * plain / planes.per_channel() - slope * mean[channel];
            }
            if let Some((extra_slope, extra_offset)) = &extra {
                slope += extra_slope[channel];
                offset += extra_offset[channel];
            }
            (scale, slope, offset)
        });
        let coefficients = coefficients.collect::<Vec<_>>();
        let mut output = vec![0f32; x.len()];
        let image = channels * planes.size;
        let images = output
            .par_chunks_mut(image)
            .zip(g.par_chunks(image))
            .zip(x.par_chunks(image));
        images.for_each(|((output, g), x)| {
            let size = planes.size;
            let rows = output.chunks_exact_mut(size).zip(g.chunks_exact(size));
            let rows = rows.zip(x.chunks_exact(size)).zip(&coefficients);
            for (((output, g), x), &coefficients) in rows {
                combine(output, g, x, coefficients);
            }
        });
        gradients.input = Some(tensor(output, input.dims())?);
    }
    Ok(gradients)
}
