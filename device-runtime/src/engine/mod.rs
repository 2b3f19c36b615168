//! Walks a program over one arena that the caller owns.
//!
//! Operations are decoded from the model as they run, so no memory besides the arena grows with the
//! network. A model that [`Model::new_checked`] has accepted cannot fail here.

mod arena;
mod execute;
mod logits;
mod view;

use core::cell::Cell;
use core::ops::ControlFlow;

use crate::calibration::{Collector, Corrections, Moments, PlanLayer};
use crate::format::{Model, Operation, TENSOR_ALIGNMENT};
use crate::kernels::Kernels;
use arena::Arena;
use execute::Settings;

pub use logits::Logits;
pub use view::TensorView;

/// Why an engine cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The model needs more memory.
    #[error("the model needs an arena of {needed} bytes, {available} are available")]
    ArenaTooSmall {
        /// Bytes that the model needs.
        needed: usize,
        /// Bytes that there are.
        available: usize,
    },
    /// The arena does not start at a multiple of [`TENSOR_ALIGNMENT`].
    #[error("the arena does not start at a multiple of {TENSOR_ALIGNMENT} bytes")]
    Misaligned,
}

/// Sees the result of every operation.
pub trait Observer {
    /// Called after operation `index`, while `output` is intact. [`ControlFlow::Break`] ends the
    /// inference.
    fn observe(
        &mut self,
        index: usize,
        operation: &Operation<'_>,
        output: &TensorView<'_>,
    ) -> ControlFlow<()>;
}

/// Looks at nothing.
impl Observer for () {
    fn observe(&mut self, _: usize, _: &Operation<'_>, _: &TensorView<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// A model and the memory to run it in.
#[derive(Debug)]
pub struct Engine<'m, 'a> {
    model: Model<'m>,
    arena: Arena<'a>,
    kernels: Kernels,
    corrections: Corrections<'m>,
}

impl<'m, 'a> Engine<'m, 'a> {
    /// Takes an arena of at least [`Header::arena_bytes`](crate::format::Header::arena_bytes),
    /// starting at a multiple of [`TENSOR_ALIGNMENT`]; its content does not matter.
    ///
    /// # Errors
    /// If the arena is too small or starts in the wrong place.
    pub fn new(model: Model<'m>, arena: &'a mut [u8]) -> Result<Self, Error> {
        Self::with_kernels(model, arena, Kernels::FASTEST)
    }

    /// Like [`new`](Self::new), with a choice of kernels: for tests that compare them.
    ///
    /// # Errors
    /// If the arena is too small or starts in the wrong place.
    pub fn with_kernels(
        model: Model<'m>,
        arena: &'a mut [u8],
        kernels: Kernels,
    ) -> Result<Self, Error> {
        let needed = model.header().arena_bytes as usize;
        let available = arena.len();
        if !arena.as_ptr().addr().is_multiple_of(TENSOR_ALIGNMENT) {
            return Err(Error::Misaligned);
        }
        let arena = arena
            .get_mut(..needed)
            .ok_or(Error::ArenaTooSmall { needed, available })?;
        Ok(Self {
            model,
            arena: Arena::new(arena),
            kernels,
            corrections: Corrections::default(),
        })
    }

    /// Uses the parameters of a calibration, which must have been checked against this model.
    #[must_use]
    pub fn with_corrections(mut self, corrections: Corrections<'m>) -> Self {
        self.corrections = corrections;
        self
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model<'m> {
        &self.model
    }

    /// Where the pixels belong, height x width x channels, one byte each. An inference overwrites
    /// them: write all of them before every [`run`](Self::run).
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        let offset = self.model.header().pixels;
        self.arena.slice_mut(offset, self.model.pixel_bytes())
    }

    /// One inference. `None` if the observer ended it.
    pub fn run(&mut self, observer: &mut impl Observer) -> Option<Logits<'_>> {
        let mut last = None;
        for (index, operation) in self.model.operations().enumerate() {
            self.execute(index, &operation, None);
            let view = TensorView::new(operation.output, self.arena.tensor(&operation.output));
            if observer.observe(index, &operation, &view).is_break() {
                return None;
            }
            last = Some(operation.output);
        }
        last.map(|output| Logits::new(self.arena.tensor(&output)))
    }

    /// Runs up to `layer` and adds its accumulators to `moments`, one per output channel.
    pub fn collect(&mut self, layer: &PlanLayer<'_>, moments: &mut [Moments]) {
        let moments = Cell::from_mut(moments).as_slice_of_cells();
        let last = usize::from(layer.operation);
        for (index, operation) in self.model.operations().enumerate().take(last + 1) {
            let collector = (index == last).then_some(Collector {
                moments,
                shift: layer.shift(),
            });
            self.execute(index, &operation, collector);
        }
    }

    fn execute(
        &mut self,
        index: usize,
        operation: &Operation<'_>,
        collector: Option<Collector<'_>>,
    ) {
        let settings = Settings {
            kernels: self.kernels,
            corrections: self.corrections.of(index as u16),
            collector,
        };
        execute::execute(&settings, &self.model, operation, &mut self.arena);
    }
}
