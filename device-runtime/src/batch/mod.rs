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
mod slots;
mod tensor;
#[cfg(feature = "wgpu")]
pub mod wgpu;

use std::vec::Vec;

pub use lanes::Instructions;
pub use plan::Unsupported;
pub use tensor::IMAGES;

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
        self.observe(images, workspace, |_, _| ());
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

    /// Runs all operations; `see` gets the number of each and a way to look at its output.
    fn observe(
        &self,
        images: &[&[u8]],
        workspace: &mut Workspace,
        mut see: impl FnMut(usize, &Tensor),
    ) {
        let slots = self.plan.slots;
        workspace.tensors.resize_with(slots, Tensor::default);
        for (index, step) in self.plan.steps.iter().enumerate() {
            let mut output = std::mem::take(&mut workspace.tensors[step.slot]);
            output.reshape(&step.output);
            let run = operators::Run {
                images,
                tensors: &workspace.tensors,
                padded: &mut workspace.padded,
                output: &mut output,
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
        self.observe(images, &mut Workspace::default(), |_, tensor| {
            found.push((0..images.len()).map(|image| tensor.image(image)).collect());
        });
        found
    }
}
