//! Many images through one network.

use std::sync::{Mutex, PoisonError};

#[cfg(feature = "wgpu")]
use lowbit_runtime::batch::wgpu::GpuNetwork;
use lowbit_runtime::batch::{BatchNetwork, IMAGES, Workspace};
use rayon::prelude::*;

use super::{Arena, Error, IntegerNetwork, Processor};

/// A network that a processor is ready to run.
pub struct Runner<'n, 'a> {
    network: &'n IntegerNetwork<'a>,
    way: Way<'a>,
}

enum Way<'a> {
    Batches(Box<BatchNetwork<'a>>, Pool<Workspace>),
    Engine(Pool<Arena>),
    #[cfg(feature = "wgpu")]
    Gpu(Box<GpuNetwork>),
}

impl<'n, 'a> Runner<'n, 'a> {
    /// Brings `network` to `processor`, where up to `together` images will be run at once, fewer
    /// if a GPU has no room for them.
    ///
    /// # Errors
    /// If the network does not fit the GPU, or the GPU fails.
    pub fn new(
        network: &'n IntegerNetwork<'a>,
        processor: &Processor,
        together: usize,
    ) -> Result<Self, Error> {
        let way = match processor {
            Processor::Portable => Way::Engine(Pool::default()),
            Processor::Cpu => batches(network),
            #[cfg(feature = "wgpu")]
            Processor::Gpu(gpu) => {
                let on_gpu = GpuNetwork::new(gpu, network.model(), together);
                Way::Gpu(Box::new(on_gpu.map_err(Error::Gpu)?))
            }
        };
        #[cfg(not(feature = "wgpu"))]
        let _ = together;
        Ok(Self { network, way })
    }

    /// Runs any number of images, each height x width x channels bytes; `logits` gets one row (unit
    /// 2^-16) per image. Tells `progress` after every few images how many they were, from any
    /// thread.
    ///
    /// # Errors
    /// If an image has another size, or the GPU fails.
    pub fn run(
        &mut self,
        images: &[&[u8]],
        logits: &mut [i32],
        progress: impl Fn(usize) + Sync,
    ) -> Result<(), Error> {
        let network = self.network;
        for image in images {
            network.check_pixels(image)?;
        }
        let classes = usize::from(network.model().header().classes);
        match &mut self.way {
            Way::Batches(batches, pool) => images
                .par_chunks(IMAGES)
                .zip(logits.par_chunks_mut(IMAGES * classes))
                .for_each(|(images, logits)| {
                    pool.with(Workspace::default, |workspace| {
                        batches.run(images, workspace, logits);
                    });
                    progress(images.len());
                }),
            Way::Engine(pool) => images
                .par_iter()
                .zip(logits.par_chunks_mut(classes))
                .try_for_each(|(image, logits)| {
                    pool.with(
                        || network.arena(),
                        |arena| network.run(image, arena, &mut (), logits),
                    )?;
                    progress(1);
                    Ok::<(), Error>(())
                })?,
            #[cfg(feature = "wgpu")]
            Way::Gpu(on_gpu) => {
                let together = on_gpu.capacity();
                let rows = logits.chunks_mut(together * classes);
                for (images, logits) in images.chunks(together).zip(rows) {
                    on_gpu.run(images, logits).map_err(Error::Gpu)?;
                    progress(images.len());
                }
            }
        }
        Ok(())
    }

    /// How long a GPU computes `images`, as many as it takes at once, without the way there and
    /// back, and how many they were. Nothing of other processors and GPUs without a clock.
    ///
    /// # Errors
    /// If the GPU fails.
    #[cfg(feature = "wgpu")]
    pub fn gpu_time(
        &self,
        images: &[&[u8]],
    ) -> Result<Option<(std::time::Duration, usize)>, Error> {
        let Way::Gpu(on_gpu) = &self.way else {
            return Ok(None);
        };
        let images = &images[..images.len().min(on_gpu.capacity())];
        let time = on_gpu.time(images).map_err(Error::Gpu)?;
        Ok(time.map(|time| (time, images.len())))
    }
}

fn batches<'a>(network: &IntegerNetwork<'a>) -> Way<'a> {
    match BatchNetwork::new(*network.model()) {
        Ok(batches) => Way::Batches(Box::new(batches), Pool::default()),
        Err(error) => {
            tracing::info!("image after image, as batches cannot be used: {error}");
            Way::Engine(Pool::default())
        }
    }
}

/// Working memory that threads lend each other, so that it is made once.
struct Pool<T>(Mutex<Vec<T>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<T> Pool<T> {
    fn with<R>(&self, make: impl FnOnce() -> T, work: impl FnOnce(&mut T) -> R) -> R {
        let free = self.free().pop();
        let mut memory = free.unwrap_or_else(make);
        let result = work(&mut memory);
        self.free().push(memory);
        result
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<T>> {
        // Nobody panics between popping and pushing, which are single steps.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
