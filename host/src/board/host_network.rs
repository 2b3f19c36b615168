//! The model on this machine, as the yardstick for a board.

use std::ops::ControlFlow;

use lowbit_runtime::engine::{Engine, Observer, TensorView};
use lowbit_runtime::format::{Model, Operation, TensorSpec};

/// The result of one inference, with what each operation left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) logits: Vec<i32>,
    pub(super) digests: Vec<u32>,
}

/// The output of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) spec: TensorSpec,
    /// In canonical order.
    pub(super) bytes: Vec<u8>,
}

/// A model and memory to run it in.
pub(super) struct HostNetwork<'m> {
    model: Model<'m>,
    arena: Vec<u64>,
}

impl<'m> HostNetwork<'m> {
    pub(super) fn new(model: Model<'m>) -> Self {
        let words = (model.header().arena_bytes as usize).div_ceil(size_of::<u64>());
        Self {
            model,
            arena: vec![0; words],
        }
    }

    pub(super) fn infer(&mut self, pixels: &[u8]) -> Expected {
        let mut digests = Digests(Vec::new());
        let logits = self.run(pixels, &mut digests).unwrap_or_default();
        Expected {
            logits,
            digests: digests.0,
        }
    }

    /// The output of operation `index`, `None` if there is no such operation.
    pub(super) fn layer(&mut self, pixels: &[u8], index: usize) -> Option<Layer> {
        let mut capture = Capture { index, layer: None };
        self.run(pixels, &mut capture);
        capture.layer
    }

    fn run(&mut self, pixels: &[u8], observer: &mut impl Observer) -> Option<Vec<i32>> {
        let arena = bytemuck::cast_slice_mut(&mut self.arena);
        let mut engine = Engine::new(self.model, arena).ok()?;
        engine.pixels_mut().copy_from_slice(pixels);
        let logits = engine.run(observer)?;
        Some(logits.as_slice().to_vec())
    }
}

struct Digests(Vec<u32>);

impl Observer for Digests {
    fn observe(&mut self, _: usize, _: &Operation<'_>, output: &TensorView<'_>) -> ControlFlow<()> {
        self.0.push(output.digest());
        ControlFlow::Continue(())
    }
}

struct Capture {
    index: usize,
    layer: Option<Layer>,
}

impl Observer for Capture {
    fn observe(
        &mut self,
        index: usize,
        operation: &Operation<'_>,
        output: &TensorView<'_>,
    ) -> ControlFlow<()> {
        if index != self.index {
            return ControlFlow::Continue(());
        }
        let mut bytes = vec![0; output.canonical_bytes()];
        output.read_canonical(0, &mut bytes);
        self.layer = Some(Layer {
            name: operation.name.to_owned(),
            spec: *output.spec(),
            bytes,
        });
        ControlFlow::Break(())
    }
}
