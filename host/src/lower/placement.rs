//! Block numbers to offsets.

use lowbit_runtime::format::{Kind, Residual, TENSOR_ALIGNMENT};

use super::arena::{self, Plan};
use super::error::narrow;
use super::operations::Operations;
use super::{Error, Options, Program, scratch};
use crate::graph::QuantizedGraph;

pub(super) fn place(
    network: &QuantizedGraph,
    operations: Operations,
    options: &Options,
) -> Result<Program, Error> {
    let Operations {
        mut steps,
        blocks,
        blobs,
        calibration,
    } = operations;
    let plan = arena::plan(&blocks);
    for (index, step) in steps.iter_mut().enumerate() {
        widen_scratch(index, step, &blocks, &plan, options);
        step.output.offset = offset(&plan, step.output.offset);
        for place in offsets_mut(&mut step.kind) {
            *place = offset(&plan, *place);
        }
    }
    let graph = &network.graph;
    let [channels, height, width] = graph.input_shape;
    let size = |what, found| narrow(&graph.name, what, found, 65535);
    Ok(Program {
        name: graph.name.clone(),
        input: [
            size("the input's height", height)?,
            size("the input's width", width)?,
            size("the input's number of channels", channels)?,
        ],
        pixels: offset(&plan, 0),
        classes: size("the number of classes", graph.classes)?,
        steps,
        arena_bytes: narrow(&graph.name, "the arena", plan.bytes, u32::MAX.into())?,
        blobs,
        calibration,
    })
}

fn offset(plan: &Plan, block: u32) -> u32 {
    plan.offsets[block as usize] as u32
}

/// Gives a convolution the largest free range of the arena, as far as it can use it.
fn widen_scratch(
    index: usize,
    step: &mut super::Step,
    blocks: &[arena::Block],
    plan: &Plan,
    options: &Options,
) {
    let output = step.output;
    let kind = step.kind;
    let Kind::Conv2d { scratch, .. } = &mut step.kind else {
        return;
    };
    let gap = arena::largest_gap(blocks, plan, index, scratch.offset as usize);
    let room = (gap.len() / TENSOR_ALIGNMENT * TENSOR_ALIGNMENT) as u64;
    let fits = |rows: &u16| scratch::bytes(&kind, &output, *rows) <= room;
    let least = options.tile_rows.clamp(1, output.height);
    scratch.offset = match (least..=output.height).rev().find(fits) {
        Some(most) => {
            scratch.length = scratch::bytes(&kind, &output, most) as u32;
            gap.start as u32
        }
        None => offset(plan, scratch.offset),
    };
}

/// Offsets of all tensors that an operation reads; scratch is placed already.
fn offsets_mut(kind: &mut Kind) -> Vec<&mut u32> {
    match kind {
        Kind::InputTable { pixels, .. } => vec![pixels],
        Kind::Conv2d {
            convolution,
            residual,
            ..
        } => {
            let mut offsets = vec![&mut convolution.input.offset];
            match residual {
                Residual::None => {}
                Residual::Identity { input, .. } => offsets.push(&mut input.offset),
                Residual::Projection { convolution, .. } => {
                    offsets.push(&mut convolution.input.offset);
                }
            }
            offsets
        }
        Kind::Add { left, right, .. } => vec![&mut left.offset, &mut right.offset],
        Kind::MaxPool { input, .. }
        | Kind::SumPool { input, .. }
        | Kind::AveragePool { input, .. }
        | Kind::Logits { input, .. } => vec![&mut input.offset],
    }
}
