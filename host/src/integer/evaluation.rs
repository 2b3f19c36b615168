//! Accuracy over a data set.

use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::backend::{Backend, Prepared};
use super::{Error, IntegerNetwork};
use crate::data::Dataset;

/// Results of a network on the first images of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// Number of images.
    pub images: usize,
    /// Images whose largest logit (the lowest class on ties) is that of their label.
    pub correct: usize,
    /// Image after image one logit per class, unit 2^-16.
    pub logits: Vec<i32>,
    /// Wall-clock time.
    pub duration: Duration,
}

impl Evaluation {
    /// Correct images in percent, 0 without images.
    #[must_use]
    pub fn top1(&self) -> f64 {
        100.0 * self.correct as f64 / self.images.max(1) as f64
    }

    /// Images per second.
    #[must_use]
    pub fn images_per_second(&self) -> f64 {
        self.images as f64 / self.duration.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

impl IntegerNetwork<'_> {
    /// Runs the first `limit` images of `dataset`, or all, on all cores.
    ///
    /// # Errors
    /// If the images or classes are not those of the network.
    pub fn evaluate(&self, dataset: &Dataset, limit: Option<usize>) -> Result<Evaluation, Error> {
        self.evaluate_with(dataset, limit, Backend::default(), |_| ())
    }

    /// Like [`evaluate`](Self::evaluate) with a given backend; tells `progress` after every few
    /// images how many they were, from any thread.
    ///
    /// # Errors
    /// If the images or classes are not those of the network.
    pub fn evaluate_with(
        &self,
        dataset: &Dataset,
        limit: Option<usize>,
        backend: Backend,
        progress: impl Fn(usize) + Sync,
    ) -> Result<Evaluation, Error> {
        self.check_dataset(dataset)?;
        let images = limit.map_or(dataset.len(), |limit| limit.min(dataset.len()));
        let classes = usize::from(self.model.header().classes);
        let start = Instant::now();
        let network = Prepared::new(self, backend);
        let together = network.images();
        let mut logits = vec![0; images * classes];
        logits
            .par_chunks_mut(classes * together)
            .enumerate()
            .try_for_each_init(
                || network.memory(),
                |memory, (batch, logits)| {
                    let count = logits.len() / classes;
                    let batch = batch * together..batch * together + count;
                    let batch: Vec<&[u8]> = batch.map(|image| dataset.image(image)).collect();
                    network.run(&batch, memory, logits)?;
                    progress(count);
                    Ok::<(), Error>(())
                },
            )?;
        let duration = start.elapsed();
        let predictions = logits.chunks_exact(classes).map(top1);
        let correct = predictions
            .zip(&dataset.labels)
            .filter(|(prediction, label)| *prediction == usize::from(**label))
            .count();
        Ok(Evaluation {
            images,
            correct,
            logits,
            duration,
        })
    }

    fn check_dataset(&self, dataset: &Dataset) -> Result<(), Error> {
        let header = self.model.header();
        let expected = header.input.map(usize::from);
        if dataset.shape != expected {
            return Err(Error::Shape {
                dataset: dataset.name.clone(),
                expected,
                found: dataset.shape,
            });
        }
        let expected = usize::from(header.classes);
        if dataset.classes != expected {
            return Err(Error::Classes {
                dataset: dataset.name.clone(),
                expected,
                found: dataset.classes,
            });
        }
        Ok(())
    }
}

/// Class of the largest logit, the lowest such class on ties.
fn top1(logits: &[i32]) -> usize {
    let mut best = 0;
    for (class, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = class;
        }
    }
    best
}
