//! Where the tensors of a program are kept while it runs.

use std::vec;
use std::vec::Vec;

use crate::format::{Kind, Model, Residual, TensorSpec};

/// Which operation wrote a tensor, and where its output is kept.
#[derive(Debug)]
pub(super) struct Slots {
    outputs: Vec<TensorSpec>,
    /// The last operation that reads each output.
    last_reads: Vec<usize>,
    /// Slot of each output so far.
    slots: Vec<usize>,
    count: usize,
    current: usize,
}

impl Slots {
    pub(super) fn new(model: &Model<'_>) -> Self {
        let outputs: Vec<_> = model.operations().map(|found| found.output).collect();
        let mut slots = Self {
            last_reads: (0..outputs.len()).collect(),
            outputs,
            slots: Vec::new(),
            count: 0,
            current: 0,
        };
        for (index, operation) in model.operations().enumerate() {
            slots.current = index;
            for input in inputs(&operation.kind) {
                let writer = slots.writer(&input);
                slots.last_reads[writer] = index;
            }
        }
        slots
    }

    /// Number of slots so far.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The latest operation before the current one whose output is `spec`; 0 if there is none, which
    /// cannot be in a checked model.
    fn writer(&self, spec: &TensorSpec) -> usize {
        let before = self.outputs[..self.current].iter();
        before
            .rev()
            .position(|output| output == spec)
            .map_or(0, |back| self.current - 1 - back)
    }

    /// Finds a slot for the output of operation `index` that holds nothing still to be read, not
    /// even by that operation. Operations come in their order.
    pub(super) fn begin(&mut self, index: usize) -> usize {
        self.current = index;
        let occupied = |slot: usize| {
            let mut holders = self.slots.iter().zip(&self.last_reads);
            holders.any(|(held, last)| *held == slot && *last >= index)
        };
        let slot = (0..self.count).find(|slot| !occupied(*slot));
        let slot = slot.unwrap_or(self.count);
        self.count = self.count.max(slot + 1);
        self.slots.push(slot);
        slot
    }

    /// Where an input of the current operation is kept.
    pub(super) fn slot(&self, spec: &TensorSpec) -> usize {
        self.slots[self.writer(spec)]
    }
}

fn inputs(kind: &Kind) -> Vec<TensorSpec> {
    match kind {
        Kind::InputTable { .. } => vec![],
        Kind::Conv2d {
            convolution,
            residual,
            ..
        } => match residual {
            Residual::None => vec![convolution.input],
            Residual::Identity { input, .. } => vec![convolution.input, *input],
            Residual::Projection {
                convolution: second,
                ..
            } => vec![convolution.input, second.input],
        },
        Kind::Add { left, right, .. } => vec![*left, *right],
        Kind::MaxPool { input, .. }
        | Kind::SumPool { input, .. }
        | Kind::AveragePool { input, .. }
        | Kind::Logits { input, .. } => vec![*input],
    }
}
