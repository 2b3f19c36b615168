//! Many images at once, on computers with vector instructions.
//!
//! A vector holds one value of each of [`IMAGES`] images. Every load, multiplication and
//! requantization then serves all of them, no sum runs across a vector, and neither patches nor
//! padding need a special case. Two neighbouring channels lie together, as processors multiply and
//! add pairs of 16-bit numbers in one instruction:
//!
//! ```text
//! pixel (y, x), channels 2c and 2c + 1:
//!   image 0: [v(2c), v(2c + 1)]   image 1: [v(2c), v(2c + 1)]   ...   image 15: [..]
//! ```
//! Values are `code + zero_point`, so that padding is 0. Where the processor multiplies and adds four
//! 8-bit numbers as fast, convolutions of codes take four channels at a time. Results equal those of the
//! [`engine`](crate::engine), bit for bit. Weights are unpacked and arranged once per model.

mod convolution;
mod epilogue;
mod lanes;
mod operators;
mod plan;
mod ranges;
mod slots;
mod tensor;
#[cfg(feature = "wgpu")]
pub mod wgpu;

use std::cell::Cell;
use std::vec::Vec;

pub use lanes::Instructions;
pub use plan::Unsupported;
pub use tensor::IMAGES;

use crate::calibration::{Collector, Layer, Moments, PlanLayer};
use crate::format::Model;
use plan::Plan;
use tensor::{Tensor, Values};

/// A model whose weights are arranged for batches.
#[derive(Debug)]
pub struct BatchNetwork<'m> {
    model: Model<'m>,
    plan: Plan,
    instructions: Instructions,
}

/// Working memory of one thread.
#[derive(Debug, Default)]
pub struct Workspace {
    tensors: Vec<Tensor>,
    padded: [convolution::Padded; 2],
}

impl<'m> BatchNetwork<'m> {
    /// Arranges `model` for the best instructions that this processor has.
    ///
    /// # Errors
    /// [`Unsupported`] if a value of the model does not fit 16 bits: the engine runs it.
    pub fn new(model: Model<'m>) -> Result<Self, Unsupported> {
        Self::with_instructions(model, Instructions::best())
    }

    /// Like [`new`](Self::new) with given instructions, which fall back to the portable ones if the
    /// processor does not have them.
    ///
    /// # Errors
    /// [`Unsupported`] if a value of the model does not fit 16 bits.
    pub fn with_instructions(
        model: Model<'m>,
        instructions: Instructions,
    ) -> Result<Self, Unsupported> {
        let instructions = instructions.or_portable();
        Ok(Self {
            model,
            plan: Plan::new(&model, instructions)?,
            instructions,
        })
    }

    /// The instructions in use.
    #[must_use]
    pub fn instructions(&self) -> Instructions {
        self.instructions
    }

    /// Runs up to [`IMAGES`] images, each height x width x channels bytes; `logits` gets one row of
    /// `i32` (unit 2^-16) per image. Images of another size count as black, rows that `logits` has
    /// no room for are left out.
    pub fn run(&self, images: &[&[u8]], workspace: &mut Workspace, logits: &mut [i32]) {
        self.execute(images, workspace, self.plan.steps.len(), None, |_, _| ());
        let classes = usize::from(self.model.header().classes);
        let Some(output) = self.plan.steps.last() else {
            return;
        };
        let Values::Wide(words) = &workspace.tensors[output.slot].values else {
            return;
        };
        let rows = logits.chunks_exact_mut(classes.max(1));
        for (image, row) in rows.take(images.len().min(IMAGES)).enumerate() {
            for (logit, word) in row.iter_mut().zip(words) {
                *logit = word.0[image];
            }
        }
    }

    /// Uses the parameters of `layer`, one of a record's, from now on.
    pub fn correct(&mut self, layer: &Layer<'_>) {
        if let Some(step) = self.plan.steps.get_mut(usize::from(layer.operation)) {
            step.correct(layer);
        }
    }

    /// Runs up to [`IMAGES`] images up to `layer` and adds its accumulators to `moments`, one per
    /// output channel.
    pub fn collect(
        &self,
        images: &[&[u8]],
        workspace: &mut Workspace,
        layer: &PlanLayer<'_>,
        moments: &mut [Moments],
    ) {
        let collector = Collector {
            moments: Cell::from_mut(moments).as_slice_of_cells(),
            shift: layer.shift(),
        };
        let steps = usize::from(layer.operation) + 1;
        self.execute(images, workspace, steps, Some(collector), |_, _| ());
    }

    /// Runs the first `count` operations; `collector` gets the accumulators of the last of them, and
    /// `see` the number of each and a way to look at its output.
    fn execute(
        &self,
        images: &[&[u8]],
        workspace: &mut Workspace,
        count: usize,
        collector: Option<Collector<'_>>,
        mut see: impl FnMut(usize, &Tensor),
    ) {
        let slots = self.plan.slots;
        workspace.tensors.resize_with(slots, Tensor::default);
        for (index, step) in self.plan.steps.iter().enumerate().take(count) {
            let mut output = std::mem::take(&mut workspace.tensors[step.slot]);
            output.reshape(&step.output);
            let run = operators::Run {
                images,
                tensors: &workspace.tensors,
                padded: &mut workspace.padded,
                output: &mut output,
                collector: collector.filter(|_| index + 1 == count),
            };
            self.instructions.execute(&step.kind, run);
            see(index, &output);
            workspace.tensors[step.slot] = output;
        }
    }

    /// Every output of every image in canonical order as integers, operation after operation.
    #[cfg(any(test, feature = "_test"))]
    #[must_use]
    pub fn outputs(&self, images: &[&[u8]]) -> Vec<Vec<Vec<i32>>> {
        let mut found = Vec::new();
        let workspace = &mut Workspace::default();
        let count = self.plan.steps.len();
        self.execute(images, workspace, count, None, |_, tensor| {
            found.push((0..images.len()).map(|image| tensor.image(image)).collect());
        });
        found
    }
}
