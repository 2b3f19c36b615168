//! Generated images as pixels.

use candle_core::{Device, Tensor};

use super::{Result, Trainer, random::Random, trainer::stream};
use crate::graph::Graph;

impl Trainer {
    /// `count` generated images with the classes they were made for: height x width x channels, a
    /// byte each. The same for the same generator; training is not affected.
    ///
    /// # Errors
    /// If the network's normalisation has another number of channels than its input.
    pub fn sample_images(&self, count: usize) -> Result<Vec<(usize, Vec<u8>)>> {
        let mut random = Random::new(self.config.seed, stream::SAMPLES);
        let mut samples = Vec::with_capacity(count);
        // The generator normalises over the batch, so that only whole batches look as in training.
        while samples.len() < count {
            let noise = random.normal((self.config.batch, self.config.latent))?;
            let labels = random.labels(self.config.batch, self.teacher.graph().classes);
            let generated = self.generator.forward(&noise, &labels)?;
            let images = pixels(generated.image(), self.teacher.graph())?;
            samples.extend(labels.into_iter().zip(images));
        }
        samples.truncate(count);
        Ok(samples)
    }

    /// `per_class` images of each of the first `classes` classes, one of every class after the
    /// other, from the same noise whatever the state of training: height x width x channels, a byte
    /// each.
    ///
    /// # Errors
    /// As [`Trainer::sample_images`].
    pub fn sample_classes(&self, classes: usize, per_class: usize) -> Result<Vec<Vec<u8>>> {
        let mut random = Random::new(self.config.seed, stream::SAMPLES);
        let count = classes * per_class;
        let mut samples = Vec::with_capacity(count);
        while samples.len() < count {
            let noise = random.normal((self.config.batch, self.config.latent))?;
            let first = samples.len();
            let labels: Vec<usize> = (first..first + self.config.batch)
                .map(|index| index % classes)
                .collect();
            let generated = self.generator.forward(&noise, &labels)?;
            samples.extend(pixels(generated.image(), self.teacher.graph())?);
        }
        samples.truncate(count);
        Ok(samples)
    }
}

/// Undoes the normalisation of `images`, wherever they are: height x width x channels, a byte each.
pub(super) fn pixels(images: &Tensor, network: &Graph) -> Result<Vec<Vec<u8>>> {
    let images = images.to_device(&Device::Cpu)?;
    let (_, channels, height, width) = images.dims4()?;
    let mean = normalization_tensor(&network.normalization.mean, channels)?;
    let std = normalization_tensor(&network.normalization.std, channels)?;
    let levels = images.broadcast_mul(&std)?.broadcast_add(&mean)?;
    let levels = (levels.permute((0, 2, 3, 1))? * 255.0)?;
    let levels = levels.flatten_all()?.to_vec1::<f32>()?;
    let bytes: Vec<u8> = levels.iter().map(|level| level.round() as u8).collect();
    Ok(bytes
        .chunks(channels * height * width)
        .map(<[u8]>::to_vec)
        .collect())
}

fn normalization_tensor(values: &[f64], channels: usize) -> Result<Tensor> {
    let values = values.iter().map(|&value| value as f32).collect();
    Ok(Tensor::from_vec(values, (1, channels, 1, 1), &Device::Cpu)?)
}
