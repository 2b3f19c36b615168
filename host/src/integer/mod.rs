//! Packed networks on the workstation: the runtime crate itself over arenas in memory, so that what
//! is measured here is what a board computes.

mod arena;
mod backend;
mod calibrated;
mod evaluation;
mod layers;
mod runner;
mod speed;

use lowbit_runtime::calibration::RecordError;
use lowbit_runtime::engine::{Engine, Observer};
use lowbit_runtime::format::{self, Model};

pub use arena::Arena;
pub use backend::{Backend, Processor, UnknownBackend};
pub use calibrated::Calibrated;
pub use evaluation::Evaluation;
pub use layers::{Difference, LayerOutput};
pub use runner::Runner;
pub use speed::{Speed, SpeedTest};

/// Why a packed network cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is broken.
    #[error(transparent)]
    Format(#[from] format::Error),
    /// A calibration of another model.
    #[error("the calibration cannot be used: {0}")]
    Record(#[from] RecordError),
    /// An image of another size.
    #[error("an image of {found} bytes was given, the network reads {expected}")]
    Pixels {
        /// Bytes that the network reads.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// Images of another shape.
    #[error(
        "`{dataset}` holds images of {found:?} (height, width, channels), the network reads {expected:?}"
    )]
    Shape {
        /// Name of the data set.
        dataset: String,
        /// Height, width and channels that the network reads.
        expected: [usize; 3],
        /// Height, width and channels of the data set.
        found: [usize; 3],
    },
    /// Another number of classes.
    #[error("`{dataset}` has {found} classes, the network {expected}")]
    Classes {
        /// Name of the data set.
        dataset: String,
        /// Classes of the network.
        expected: usize,
        /// Classes of the data set.
        found: usize,
    },
    /// The GPU cannot be used, or has failed.
    #[cfg(feature = "wgpu")]
    #[error(transparent)]
    Gpu(lowbit_runtime::batch::wgpu::Error),
    /// A GPU is asked for.
    #[cfg(not(feature = "wgpu"))]
    #[error("this build has no backend for GPUs")]
    BuiltWithoutGpu,
}

impl Error {
    /// Whether it would not happen without GPU.
    #[must_use]
    pub fn is_about_gpu(&self) -> bool {
        match self {
            #[cfg(feature = "wgpu")]
            Self::Gpu(_) => true,
            #[cfg(not(feature = "wgpu"))]
            Self::BuiltWithoutGpu => true,
            _ => false,
        }
    }
}

/// A packed file, checked and ready to run.
#[derive(Debug, Clone, Copy)]
pub struct IntegerNetwork<'a> {
    model: Model<'a>,
}

impl<'a> IntegerNetwork<'a> {
    /// Checks `bytes`, the content of a packed file.
    ///
    /// # Errors
    /// If the file breaks a rule of the format.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        Ok(Self {
            model: Model::new_checked(bytes)?,
        })
    }

    /// The packed file.
    #[must_use]
    pub fn model(&self) -> &Model<'a> {
        &self.model
    }

    /// The logits (unit 2^-16) of one image, height x width x channels bytes.
    ///
    /// # Errors
    /// If `pixels` has another size.
    pub fn logits(&self, pixels: &[u8]) -> Result<Vec<i32>, Error> {
        let mut logits = vec![0; usize::from(self.model.header().classes)];
        self.run(pixels, &mut self.arena(), &mut (), &mut logits)?;
        Ok(logits)
    }

    /// Memory that an inference needs.
    fn arena(&self) -> Arena {
        Arena::new(self.model.header().arena_bytes as usize)
    }

    /// One inference in `arena`; `logits` keeps its values if `observer` ends it early.
    fn run(
        &self,
        pixels: &[u8],
        arena: &mut Arena,
        observer: &mut impl Observer,
        logits: &mut [i32],
    ) -> Result<(), Error> {
        let mut engine = self.engine(arena, pixels)?;
        if let Some(result) = engine.run(observer) {
            logits.copy_from_slice(result.as_slice());
        }
        Ok(())
    }

    /// An engine with `pixels` in its arena.
    fn engine<'m>(&self, arena: &'m mut Arena, pixels: &[u8]) -> Result<Engine<'m, 'm>, Error>
    where
        'a: 'm,
    {
        self.check_pixels(pixels)?;
        let mut engine = Engine::new(self.model, arena.bytes_mut())
            .expect("the arena is aligned and as large as the model says");
        engine.pixels_mut().copy_from_slice(pixels);
        Ok(engine)
    }

    /// Whether `pixels` is one image.
    pub(crate) fn check_pixels(&self, pixels: &[u8]) -> Result<(), Error> {
        let (expected, found) = (self.model.pixel_bytes(), pixels.len());
        if expected != found {
            return Err(Error::Pixels { expected, found });
        }
        Ok(())
    }
}
