//! Images that the game leaves behind.

use candle_core::{DType, Device, Tensor};

use crate::dfq::{Result, files::Archive};

const ENTRY: &str = "pool";

/// Batches of the game, evenly spread over it: a generator's images change all the time, and those
/// of the last one alone are far less varied. Kept in half precision.
#[derive(Debug, Clone, Default)]
pub(in crate::dfq) struct ImagePool {
    /// `[images, channels, height, width]`.
    batches: Vec<Tensor>,
}

impl ImagePool {
    /// Takes in the batch of an iteration if the pool, meant for `wanted` images, is behind:
    /// `done` iterations of `total` came before.
    ///
    /// # Errors
    /// If the images cannot be converted.
    pub(in crate::dfq) fn offer(
        &mut self,
        images: &Tensor,
        wanted: usize,
        done: usize,
        total: usize,
    ) -> Result<()> {
        if self.images() * total < wanted * (done + 1) {
            self.batches.push(images.to_dtype(DType::F16)?);
        }
        Ok(())
    }

    /// How many images there are.
    pub(in crate::dfq) fn images(&self) -> usize {
        self.batches.iter().map(|batch| batch.dims()[0]).sum()
    }

    /// Chosen images.
    ///
    /// # Errors
    /// If an index is too large or the pool is empty.
    pub(super) fn select(&self, indices: &[u32]) -> Result<Tensor> {
        let all = self.all()?;
        let indices = Tensor::new(indices, all.device())?;
        Ok(all.index_select(&indices, 0)?.to_dtype(DType::F32)?)
    }

    /// The same pool in one piece.
    ///
    /// # Errors
    /// If the pool is empty.
    pub(super) fn merged(self) -> Result<Self> {
        Ok(Self {
            batches: vec![self.all()?],
        })
    }

    fn all(&self) -> Result<Tensor> {
        match &self.batches[..] {
            [all] => Ok(all.clone()),
            batches => Ok(Tensor::cat(batches, 0)?),
        }
    }

    /// Adds the images, if there are any.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub(in crate::dfq) fn archive(&self, archive: &mut Archive) -> Result<()> {
        if !self.batches.is_empty() {
            archive.insert(ENTRY.to_owned(), &self.all()?);
        }
        Ok(())
    }

    /// The images in `archive`, on `device`.
    ///
    /// # Errors
    /// If they cannot be moved there.
    pub(in crate::dfq) fn restored(archive: &Archive, device: &Device) -> Result<Self> {
        let images = archive.tensors.get(ENTRY);
        let images = images.map(|images| images.to_device(device));
        Ok(Self {
            batches: images.transpose()?.into_iter().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dfq::golden::flat;

    #[test]
    fn batches_are_spread_over_the_game() {
        let mut pool = ImagePool::default();
        for done in 0..20 {
            let batch = Tensor::full(done as f32, (2, 1, 1, 1), &Device::Cpu).unwrap();
            pool.offer(&batch, 10, done, 20).unwrap();
        }
        assert_eq!(pool.images(), 10);
        let all: Vec<u32> = (0..10).step_by(2).collect();
        assert_eq!(
            flat(&pool.select(&all).unwrap()),
            [0.0, 4.0, 8.0, 12.0, 16.0]
        );
    }

    #[test]
    fn a_pool_comes_back_as_it_was() {
        let mut pool = ImagePool::default();
        let batch = Tensor::new(&[[0.25_f32], [-1.5]], &Device::Cpu).unwrap();
        for done in 0..2 {
            pool.offer(&batch, 4, done, 2).unwrap();
        }
        let mut archive = Archive::default();
        pool.archive(&mut archive).unwrap();
        let restored = ImagePool::restored(&archive, &Device::Cpu).unwrap();
        assert_eq!(restored.images(), 4);
        let all = |pool: &ImagePool| flat(&pool.select(&[0, 1, 2, 3]).unwrap());
        assert_eq!(all(&pool), all(&restored));
        let empty = Archive::default();
        assert_eq!(
            ImagePool::restored(&empty, &Device::Cpu).unwrap().images(),
            0
        );
    }
}
