//! What happens to images between the generator and the networks, and where batches of images come
//! from once training is over.

use std::fmt;

use candle_core::Tensor;

use super::{Result, generator::Generator, random::Random};

/// A differentiable change of the generated images before teacher and student see them.
pub trait ImageFilter: fmt::Debug + Send + Sync {
    /// The changed images, of the same shape `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// If the images do not fit the filter.
    fn forward(&self, images: &Tensor) -> Result<Tensor>;

    /// Gradient of `images` for the gradient `grad` of what [`ImageFilter::forward`] made of them.
    ///
    /// # Errors
    /// If shapes do not fit.
    fn backward(&self, images: &Tensor, grad: &Tensor) -> Result<Tensor>;
}

/// Normalised images with the class that each was made for.
#[derive(Debug, Clone)]
pub struct Images {
    /// `[batch, channels, height, width]`.
    pub images: Tensor,
    /// One per image.
    pub labels: Vec<usize>,
}

/// Batches of images without end.
pub trait ImageSource {
    /// The next batch.
    ///
    /// # Errors
    /// If it cannot be made.
    fn next_batch(&mut self) -> Result<Images>;
}

/// Images of a trained generator, for random classes.
#[derive(Debug)]
pub struct GeneratedImages<'a> {
    generator: &'a Generator,
    filter: Option<&'a dyn ImageFilter>,
    random: Random,
    batch: usize,
}

impl<'a> GeneratedImages<'a> {
    /// Batches of `batch` images, drawn from `random`.
    #[must_use]
    pub fn new(
        generator: &'a Generator,
        filter: Option<&'a dyn ImageFilter>,
        random: Random,
        batch: usize,
    ) -> Self {
        Self {
            generator,
            filter,
            random,
            batch,
        }
    }
}

impl ImageSource for GeneratedImages<'_> {
    fn next_batch(&mut self) -> Result<Images> {
        let sizes = self.generator.sizes();
        let noise = self.random.normal((self.batch, sizes.latent))?;
        let labels = self.random.labels(self.batch, sizes.classes);
        let images = self.generator.forward(&noise, &labels)?.image().clone();
        let images = match self.filter {
            Some(filter) => filter.forward(&images)?,
            None => images,
        };
        Ok(Images { images, labels })
    }
}
