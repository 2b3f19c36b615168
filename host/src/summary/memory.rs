//! Which bytes of the arena hold what, and when.

use lowbit_runtime::format::{Kind, Model, Operation, Residual, Scratch, TensorSpec};
use serde::Serialize;

/// What a part of the arena holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// The image, before the first operation.
    Pixels,
    /// The output of an operation, until the last one that reads it.
    Tensor,
    /// Working memory of one operation: line buffers, patches, unpacked weights.
    Scratch,
}

/// A part of the arena while it is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Block {
    /// Name of the layer that it belongs to.
    pub layer: String,
    /// What it holds.
    pub content: Content,
    /// First byte in the arena.
    pub offset: u32,
    /// Number of bytes.
    pub bytes: u64,
    /// The operation that writes it, from 0.
    pub first_step: usize,
    /// The last operation that needs it.
    pub last_step: usize,
}

impl Block {
    /// Whether it is needed during `step`.
    #[must_use]
    pub fn is_needed_in(&self, step: usize) -> bool {
        (self.first_step..=self.last_step).contains(&step)
    }

    fn end(&self) -> u64 {
        u64::from(self.offset) + self.bytes
    }
}

/// The arena of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// Bytes of arena that an inference needs: what a board must have.
    pub arena_bytes: u32,
    /// Number of operations.
    pub steps: usize,
    /// Most bytes that are needed at once; less than the arena where parts do not fit seamlessly.
    pub peak_bytes: u64,
    /// The operation that needs them, from 0.
    pub peak_step: usize,
    /// Its name.
    pub peak_layer: String,
    /// All parts, in the order in which they come to be needed.
    pub blocks: Vec<Block>,
}

impl MemoryPlan {
    /// What the peak consists of, the largest part first.
    #[must_use]
    pub fn peak_blocks(&self) -> Vec<&Block> {
        let needed = self.blocks.iter();
        let mut needed = needed
            .filter(|block| block.is_needed_in(self.peak_step))
            .collect::<Vec<_>>();
        needed.sort_by_key(|block| std::cmp::Reverse(block.bytes));
        needed
    }
}

/// The plan of a model's arena.
#[must_use]
pub fn memory(model: &Model<'_>) -> MemoryPlan {
    let operations = model.operations().collect::<Vec<_>>();
    let mut blocks = vec![Block {
        layer: operations[0].name.to_owned(),
        content: Content::Pixels,
        offset: model.header().pixels,
        bytes: model.pixel_bytes() as u64,
        first_step: 0,
        last_step: 0,
    }];
    for (step, operation) in operations.iter().enumerate() {
        blocks.push(output(&operations, step));
        blocks.extend(scratch(step, operation));
    }
    let in_use = |step| bytes_in_use(&blocks, step);
    let peak_step = (0..operations.len())
        .rev()
        .max_by_key(|&step| in_use(step))
        .unwrap_or(0);
    MemoryPlan {
        arena_bytes: model.header().arena_bytes,
        steps: operations.len(),
        peak_bytes: in_use(peak_step),
        peak_step,
        peak_layer: operations[peak_step].name.to_owned(),
        blocks,
    }
}

fn output(operations: &[Operation<'_>], step: usize) -> Block {
    let operation = &operations[step];
    let tensor = operation.output;
    let mut last_step = step;
    for (later, other) in operations.iter().enumerate().skip(step + 1) {
        if inputs(&other.kind).contains(&tensor) {
            last_step = later;
        }
        // The same place in the same form: from here on it is another tensor.
        if other.output == tensor {
            break;
        }
    }
    Block {
        layer: operation.name.to_owned(),
        content: Content::Tensor,
        offset: tensor.offset,
        bytes: tensor.bytes() as u64,
        first_step: step,
        last_step,
    }
}

fn scratch(step: usize, operation: &Operation<'_>) -> Option<Block> {
    let Kind::Conv2d {
        scratch: Scratch { offset, length },
        ..
    } = operation.kind
    else {
        return None;
    };
    (length > 0).then(|| Block {
        layer: operation.name.to_owned(),
        content: Content::Scratch,
        offset,
        bytes: length.into(),
        first_step: step,
        last_step: step,
    })
}

/// The tensors that an operation reads.
fn inputs(kind: &Kind) -> Vec<TensorSpec> {
    match kind {
        Kind::InputTable { .. } => vec![],
        Kind::Conv2d {
            convolution,
            residual,
            ..
        } => {
            let skipped = match residual {
                Residual::None => None,
                Residual::Identity { input, .. } => Some(*input),
                Residual::Projection { convolution, .. } => Some(convolution.input),
            };
            [convolution.input].into_iter().chain(skipped).collect()
        }
        Kind::Add { left, right, .. } => vec![*left, *right],
        Kind::MaxPool { input, .. }
        | Kind::SumPool { input, .. }
        | Kind::AveragePool { input, .. }
        | Kind::Logits { input, .. } => vec![*input],
    }
}

/// Bytes that `step` needs; an output in the place of an input counts once.
fn bytes_in_use(blocks: &[Block], step: usize) -> u64 {
    let needed = blocks.iter().filter(|block| block.is_needed_in(step));
    let mut parts = needed
        .map(|block| (u64::from(block.offset), block.end()))
        .collect::<Vec<_>>();
    parts.sort_unstable();
    let (mut bytes, mut covered) = (0, 0);
    for (start, end) in parts {
        bytes += end.saturating_sub(start.max(covered));
        covered = covered.max(end);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use lowbit_runtime::testing::tiny_model;

    use super::*;

    #[test]
    fn the_plan_of_two_operations_is_what_they_say() {
        let file = tiny_model(0, 1);
        let model = Model::new_checked(&file).expect("is a model");
        let plan = memory(&model);
        let contents = plan.blocks.iter().map(|block| block.content);
        let expected = [Content::Pixels, Content::Tensor, Content::Tensor];
        assert_eq!(contents.collect::<Vec<_>>(), expected);
        let steps = plan
            .blocks
            .iter()
            .map(|block| (block.first_step, block.last_step));
        assert_eq!(steps.collect::<Vec<_>>(), [(0, 0), (0, 1), (1, 1)]);
        // 4 pixels, their values of 16 bits, 2 logits of 32 bits.
        assert_eq!(plan.peak_bytes, 16);
        assert!(
            plan.blocks
                .iter()
                .all(|block| block.end() <= plan.arena_bytes.into())
        );
    }

    #[test]
    fn bytes_that_two_blocks_share_count_once() {
        let block = |offset, bytes| Block {
            layer: String::new(),
            content: Content::Tensor,
            offset,
            bytes,
            first_step: 0,
            last_step: 0,
        };
        assert_eq!(
            bytes_in_use(&[block(8, 16), block(8, 16), block(40, 8)], 0),
            24
        );
        assert_eq!(bytes_in_use(&[block(0, 16), block(8, 16)], 0), 24);
        assert_eq!(bytes_in_use(&[block(0, 16)], 1), 0);
    }
}
