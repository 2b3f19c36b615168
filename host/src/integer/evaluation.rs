//! Accuracy over a data set.

use std::time::{Duration, Instant};

use super::{Error, IntegerNetwork, Processor, Runner};
use crate::accuracy::{self, rank};
use crate::data::Dataset;

/// Images that a GPU is given at once: enough to keep large ones busy.
const TOGETHER: usize = 256;

/// Results of a network on the first images of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// The [`rank`] of every image's label, 0 where the network is right.
    pub ranks: Vec<u16>,
    /// Image after image one logit per class, unit 2^-16.
    pub logits: Vec<i32>,
    /// Wall-clock time.
    pub duration: Duration,
}

impl Evaluation {
    /// Correct images in percent, 0 without images.
    #[must_use]
    pub fn top1(&self) -> f64 {
        accuracy::top1(&self.ranks)
    }

    /// CRC-32 (ISO-HDLC) of all logits, little-endian: equal if every logit is.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
        let mut digest = CRC.digest();
        for logit in &self.logits {
            digest.update(&logit.to_le_bytes());
        }
        digest.finalize()
    }

    /// Images per second.
    #[must_use]
    pub fn images_per_second(&self) -> f64 {
        self.ranks.len() as f64 / self.duration.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

impl IntegerNetwork<'_> {
    /// Runs the first `limit` images of `dataset`, or all, on all cores.
    ///
    /// # Errors
    /// If the images or classes are not those of the network.
    pub fn evaluate(&self, dataset: &Dataset, limit: Option<usize>) -> Result<Evaluation, Error> {
        self.evaluate_with(dataset, limit, &Processor::default(), |_| ())
    }

    /// Like [`evaluate`](Self::evaluate) on a given processor; tells `progress` after every few
    /// images how many they were, from any thread.
    ///
    /// # Errors
    /// If the images or classes are not those of the network, or a GPU fails.
    pub fn evaluate_with(
        &self,
        dataset: &Dataset,
        limit: Option<usize>,
        processor: &Processor,
        progress: impl Fn(usize) + Sync,
    ) -> Result<Evaluation, Error> {
        self.check_dataset(dataset)?;
        let count = limit.map_or(dataset.len(), |limit| limit.min(dataset.len()));
        let images: Vec<&[u8]> = (0..count).map(|image| dataset.image(image)).collect();
        let classes = usize::from(self.model.header().classes);
        let mut logits = vec![0; count * classes];
        let start = Instant::now();
        let mut runner = Runner::new(self, processor, TOGETHER.min(count))?;
        runner.run(&images, &mut logits, progress)?;
        let duration = start.elapsed();
        let of_images = logits.chunks_exact(classes);
        let ranks = of_images.zip(&dataset.labels);
        Ok(Evaluation {
            ranks: ranks.map(|(logits, &label)| rank(logits, label)).collect(),
            logits,
            duration,
        })
    }

    pub(crate) fn check_dataset(&self, dataset: &Dataset) -> Result<(), Error> {
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
