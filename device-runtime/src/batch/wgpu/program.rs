//! The operations of a model as dispatches of shaders.

use std::vec::Vec;

use crate::arithmetic::Affine;
use crate::batch::slots::Slots;
use crate::format::{Blob, Kind, Model, TensorSpec};
use crate::kernels::Affines;

use super::operators::Operator;
use super::parameters::{Add, Channel, InputTable, Linear, Pool, Tensor, affine_words, reduction};

mod convolution;
mod weights;

use weights::Codes;

/// All operations and the memory that they need.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) steps: Vec<Step>,
    /// Words per image of each slot.
    pub(super) slots: Vec<u64>,
    /// Words per image of the sums of a projection.
    pub(super) sums: u64,
    /// Words per image of the pixels.
    pub(super) pixels: u64,
}

/// One operation.
#[derive(Debug)]
pub(super) struct Step {
    /// In their order; a projection comes before what it is added to.
    pub(super) dispatches: Vec<Dispatch>,
    pub(super) output: TensorSpec,
    pub(super) slot: usize,
}

/// One run of a shader.
#[derive(Debug)]
pub(super) struct Dispatch {
    pub(super) operator: Operator,
    /// What the operator is about.
    pub(super) layer: Vec<u8>,
    pub(super) parameters: Vec<u32>,
    pub(super) input: Memory,
    pub(super) addend: Memory,
    pub(super) output: Memory,
    pub(super) work: Work,
}

/// A buffer that the operations share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// Nothing of use.
    Unused,
    Pixels,
    Slot(usize),
    Sums,
}

/// What a dispatch is divided into.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    /// Pieces per image.
    pub(super) pieces: u32,
    /// Pieces per invocation.
    pub(super) together: u32,
    /// How often, with other channels.
    pub(super) quads: u32,
}

impl Work {
    fn elements(pieces: u32) -> Self {
        Self {
            pieces,
            together: 1,
            quads: 1,
        }
    }
}

impl Program {
    pub(super) fn new(model: &Model<'_>) -> Self {
        let mut slots = Slots::new(model);
        let mut program = Self {
            steps: Vec::new(),
            slots: Vec::new(),
            sums: 1,
            pixels: (model.pixel_bytes() as u64).div_ceil(4),
        };
        for (index, operation) in model.operations().enumerate() {
            let slot = slots.begin(index);
            let output = operation.output;
            program.reserve(slot, &output);
            let builder = Builder {
                model,
                slots: &slots,
                output,
                target: Memory::Slot(slot),
            };
            let dispatches = builder.dispatches(&operation.kind);
            if dispatches.len() > 1 {
                let sums = Tensor::sums(&output).words_per_image();
                program.sums = program.sums.max(sums);
            }
            program.steps.push(Step {
                dispatches,
                output,
                slot,
            });
        }
        program
    }

    fn reserve(&mut self, slot: usize, output: &TensorSpec) {
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, 1);
        }
        let words = Tensor::new(output).words_per_image();
        self.slots[slot] = self.slots[slot].max(words);
    }
}

/// What an operation is made from.
struct Builder<'a, 'm> {
    model: &'a Model<'m>,
    slots: &'a Slots,
    output: TensorSpec,
    target: Memory,
}

impl Builder<'_, '_> {
    fn dispatches(&self, kind: &Kind) -> Vec<Dispatch> {
        match kind {
            Kind::InputTable { table, .. } => Vec::from([self.input_table(*table)]),
            Kind::Conv2d {
                convolution,
                requantize,
                residual,
                ..
            } => self.convolutions(convolution, requantize, residual),
            Kind::Add { .. } => Vec::from([self.add(kind)]),
            Kind::MaxPool { .. } | Kind::SumPool { .. } | Kind::AveragePool { .. } => {
                Vec::from([self.pool(kind)])
            }
            Kind::Logits { .. } => Vec::from([self.linear(kind)]),
        }
    }

    fn memory(&self, spec: &TensorSpec) -> Memory {
        Memory::Slot(self.slots.slot(spec))
    }

    fn input_table(&self, table: Blob) -> Dispatch {
        let entries = self.model.blob(table).as_chunks().0.iter();
        let output = Tensor::new(&self.output);
        let layer = InputTable {
            output,
            pixels: self.model.pixel_bytes().div_ceil(4) as u32,
            ..Default::default()
        };
        Dispatch {
            operator: Operator::InputTable,
            layer: bytemuck::bytes_of(&layer).to_vec(),
            parameters: entries
                .map(|entry| i32::from(i16::from_le_bytes(*entry)) as u32)
                .collect(),
            input: Memory::Pixels,
            addend: Memory::Unused,
            output: self.target,
            work: Work::elements(output.image),
        }
    }

    fn add(&self, kind: &Kind) -> Dispatch {
        let Kind::Add {
            left,
            right,
            left_multiplier,
            right_multiplier,
            bias,
            shift,
            low,
            high,
        } = *kind
        else {
            unreachable!("only called for an addition");
        };
        let affine = Affine {
            multiplier: left_multiplier,
            bias,
            shift,
        };
        let output = Tensor::new(&self.output);
        let layer = Add {
            left: Tensor::new(&left),
            right: Tensor::new(&right),
            output,
            low,
            high,
            ..Default::default()
        };
        let mut parameters = affine_words(&affine).to_vec();
        parameters.push(right_multiplier as u32);
        Dispatch {
            operator: Operator::Add,
            layer: bytemuck::bytes_of(&layer).to_vec(),
            parameters,
            input: self.memory(&left),
            addend: self.memory(&right),
            output: self.target,
            work: Work::elements(output.image),
        }
    }

    fn pool(&self, kind: &Kind) -> Dispatch {
        let output = Tensor::new(&self.output);
        let mut layer = Pool {
            output,
            ..Default::default()
        };
        let mut affine = Channel::NONE.affine;
        let (input, window, stride) = match *kind {
            Kind::MaxPool {
                input,
                window,
                stride,
                padding,
            } => {
                layer.padding = padding.map(u32::from);
                layer.reduction = reduction::MAX;
                (input, window, stride)
            }
            Kind::SumPool {
                input,
                window,
                stride,
            } => {
                layer.reduction = reduction::SUM;
                (input, window, stride)
            }
            Kind::AveragePool {
                input,
                window,
                stride,
                multiplier,
                bias,
                shift,
                low,
                high,
            } => {
                layer.reduction = reduction::AVERAGE;
                (layer.low, layer.high) = (low, high);
                affine = Affine {
                    multiplier,
                    bias,
                    shift,
                };
                (input, window, stride)
            }
            _ => unreachable!("only called for a pool"),
        };
        layer.input = Tensor::new(&input);
        layer.window = window.map(u32::from);
        layer.stride = stride.map(u32::from);
        Dispatch {
            operator: Operator::Pool,
            layer: bytemuck::bytes_of(&layer).to_vec(),
            parameters: affine_words(&affine).to_vec(),
            input: self.memory(&input),
            addend: Memory::Unused,
            output: self.target,
            work: Work::elements(output.image),
        }
    }

    fn linear(&self, kind: &Kind) -> Dispatch {
        let Kind::Logits {
            input,
            weights,
            multipliers,
            biases,
            shifts,
        } = kind
        else {
            unreachable!("only called for the classifier");
        };
        let taps = input.elements() as usize;
        let codes = Codes::new(self.model, weights, taps, self.output.channels.into());
        let (mut parameters, per_class) = codes.linear(input.channels.into());
        let start = parameters.len() as u32;
        let affines = self.affines([*multipliers, *biases, *shifts]);
        for (class, affine) in affines.into_iter().enumerate() {
            let channel = Channel {
                affine,
                zero_point: codes.zero_point(class),
                ..Channel::NONE
            };
            parameters.extend(channel.words());
        }
        let layer = Linear {
            input: Tensor::new(input),
            output: Tensor::new(&self.output),
            bits: weights.bits.into(),
            codes: per_class,
            classes: start,
            ..Default::default()
        };
        Dispatch {
            operator: Operator::Linear,
            layer: bytemuck::bytes_of(&layer).to_vec(),
            parameters,
            input: self.memory(input),
            addend: Memory::Unused,
            output: self.target,
            work: Work::elements(self.output.channels.into()),
        }
    }

    /// The affine maps of the output's channels, from multipliers, biases and shifts.
    fn affines(&self, [multipliers, biases, shifts]: [Blob; 3]) -> Vec<Affine> {
        let affines = Affines {
            multipliers: self.model.blob(multipliers),
            biases: self.model.blob(biases),
            shifts: self.model.blob(shifts),
            corrections: &[],
        };
        let channels = 0..usize::from(self.output.channels);
        channels.map(|channel| affines.get(channel)).collect()
    }
}
