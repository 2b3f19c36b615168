//! What happens to images between the generator and the networks, and where batches of images come
//! from once training is over.

use std::fmt;

use candle_core::Tensor;

use super::{Error, Result, generator::Generator, random::Random};
use crate::{data::Dataset, graph::Normalization, nn};

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

/// A set of images, batch by batch.
pub trait ImageSet {
    /// How many batches there are.
    fn batches(&self) -> usize;

    /// Batch number `index`, counted from 0.
    ///
    /// # Errors
    /// If it cannot be made.
    fn batch(&self, index: usize) -> Result<Images>;
}

impl ImageSet for Vec<Images> {
    fn batches(&self) -> usize {
        self.len()
    }

    fn batch(&self, index: usize) -> Result<Images> {
        self.get(index).cloned().ok_or(Error::NoImages)
    }
}

/// The images of a data set, normalised for a network.
#[derive(Debug, Clone, Copy)]
pub struct DatasetImages<'a> {
    /// The images.
    pub data: &'a Dataset,
    /// How pixels become the network's input.
    pub normalization: &'a Normalization,
    /// Images per batch; the last one may have fewer.
    pub batch: usize,
}

impl ImageSet for DatasetImages<'_> {
    fn batches(&self) -> usize {
        self.data.len().div_ceil(self.batch)
    }

    fn batch(&self, index: usize) -> Result<Images> {
        let start = index * self.batch;
        let end = (start + self.batch).min(self.data.len());
        if start >= end {
            return Err(Error::NoImages);
        }
        let indices: Vec<usize> = (start..end).collect();
        let labels = self.data.labels[start..end].iter();
        Ok(Images {
            images: nn::images(self.data, &indices, self.normalization)?,
            labels: labels.map(|&label| label.into()).collect(),
        })
    }
}

/// Batches of images without end.
pub trait ImageSource {
    /// The next batch.
    ///
    /// # Errors
    /// If it cannot be made.
    fn next_batch(&mut self) -> Result<Images>;
}

/// A set of images, again and again.
pub struct Repeated<'a> {
    set: &'a dyn ImageSet,
    next: usize,
}

impl<'a> Repeated<'a> {
    /// From the first batch on.
    #[must_use]
    pub fn new(set: &'a dyn ImageSet) -> Self {
        Self { set, next: 0 }
    }
}

impl ImageSource for Repeated<'_> {
    fn next_batch(&mut self) -> Result<Images> {
        let batches = self.set.batches();
        if batches == 0 {
            return Err(Error::NoImages);
        }
        let batch = self.set.batch(self.next)?;
        self.next = (self.next + 1) % batches;
        Ok(batch)
    }
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
