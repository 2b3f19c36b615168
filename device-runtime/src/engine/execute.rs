//! One operation: its parameters from the model, its tensors from the arena.

use super::arena::{Arena, Parts, Unwritten};
use crate::arithmetic::Affine;
use crate::calibration::Collector;
use crate::format::{
    Blob, Convolution, Kind, Model, Operation, Requantize, Residual, Scratch, Storage, TensorSpec,
    Weights,
};
use crate::kernels::pool::{self, Windows};
use crate::kernels::{Affines, Elements, ElementsMut, Image, ImageMut, Kernels, Rows};
use crate::kernels::{add, conv2d, input_table, logits};

/// How an operation is computed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings<'a> {
    pub(super) kernels: Kernels,
    /// Replace the requantizer of a convolution, if not empty.
    pub(super) corrections: &'a [u8],
    /// Takes in the accumulators of a convolution.
    pub(super) collector: Option<Collector<'a>>,
}

/// Computes the output of `operation`.
pub(super) fn execute(
    settings: &Settings<'_>,
    model: &Model<'_>,
    operation: &Operation<'_>,
    arena: &mut Arena<'_>,
) {
    let spec = &operation.output;
    let parts = arena.split(spec, scratch(&operation.kind));
    match &operation.kind {
        Kind::InputTable { pixels, table } => {
            let pixels = parts.inputs.slice(*pixels, model.pixel_bytes());
            let mut output = ElementsMut::new(spec, parts.output);
            input_table::run(
                pixels,
                model.blob(*table),
                spec.channels.into(),
                &mut output,
            );
        }
        Kind::Conv2d {
            convolution,
            requantize,
            residual,
            ..
        } => {
            let inputs = Inputs {
                model,
                arena: &parts.inputs,
            };
            let source = inputs.source(convolution);
            let mut epilogue = inputs.epilogue(requantize, residual, spec);
            epilogue.affines.corrections = settings.corrections;
            epilogue.collector = settings.collector;
            let (_, scratch, _) = bytemuck::pod_align_to_mut(parts.scratch);
            let mut output = ImageMut::new(spec, parts.output);
            conv2d::run(settings.kernels, &source, &epilogue, &mut output, scratch);
        }
        Kind::Add { .. } => execute_add(settings.kernels, &operation.kind, spec, parts),
        Kind::MaxPool { .. } | Kind::SumPool { .. } | Kind::AveragePool { .. } => {
            execute_pool(&operation.kind, spec, parts);
        }
        Kind::Logits {
            input,
            weights,
            multipliers,
            biases,
            shifts,
        } => {
            let rows = rows(model, weights, input.elements() as usize);
            let affines = affines(model, *multipliers, *biases, *shifts);
            let features = Elements::new(input, parts.inputs.tensor(input));
            let mut output = ElementsMut::new(spec, parts.output);
            logits::run(
                &features,
                &rows,
                &affines,
                spec.channels.into(),
                &mut output,
            );
        }
    }
}

fn execute_add(kernels: Kernels, kind: &Kind, spec: &TensorSpec, parts: Parts<'_>) {
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
        return;
    };
    let operand = |input: &TensorSpec| {
        let elsewhere = input.offset != spec.offset;
        add::Operand {
            elements: elsewhere.then(|| Elements::new(input, parts.inputs.tensor(input))),
            bits: match input.storage {
                Storage::Code8 { bits } => Some(bits),
                Storage::Value16 | Storage::Value32 => None,
            },
        }
    };
    let add = add::Add {
        affine: Affine {
            multiplier: left_multiplier,
            bias,
            shift,
        },
        right_multiplier,
        low,
        high,
    };
    let count = spec.elements() as usize;
    let mut output = ElementsMut::new(spec, parts.output);
    let operands = [operand(&left), operand(&right)];
    let [left, right] = &operands;
    add::run(kernels, &add, left, right, count, &mut output);
}

fn execute_pool(kind: &Kind, spec: &TensorSpec, parts: Parts<'_>) {
    let mut output = ImageMut::new(spec, parts.output);
    let image = |input: &TensorSpec| Image::new(input, parts.inputs.tensor(input));
    let windows = |size, stride, padding| Windows {
        size,
        stride,
        padding,
    };
    match *kind {
        Kind::MaxPool {
            input,
            window,
            stride,
            padding,
        } => pool::max(
            &image(&input),
            &windows(window, stride, padding),
            &mut output,
        ),
        Kind::SumPool {
            input,
            window,
            stride,
        } => pool::sum(
            &image(&input),
            &windows(window, stride, [0; 2]),
            &mut output,
        ),
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
            let affine = Affine {
                multiplier,
                bias,
                shift,
            };
            let windows = windows(window, stride, [0; 2]);
            pool::average(&image(&input), &windows, &affine, [low, high], &mut output);
        }
        _ => {}
    }
}

fn scratch(kind: &Kind) -> Scratch {
    match kind {
        Kind::Conv2d { scratch, .. } => *scratch,
        _ => Scratch::default(),
    }
}

fn rows<'a>(model: &Model<'a>, weights: &Weights, taps: usize) -> Rows<'a> {
    Rows {
        bits: weights.bits,
        layout: weights.layout,
        taps,
        codes: model.blob(weights.codes),
        zero_points: model.blob(weights.zero_points),
    }
}

fn affines<'a>(model: &Model<'a>, multipliers: Blob, biases: Blob, shifts: Blob) -> Affines<'a> {
    Affines {
        multipliers: model.blob(multipliers),
        biases: model.blob(biases),
        shifts: model.blob(shifts),
        corrections: &[],
    }
}

/// What a convolution reads.
struct Inputs<'a> {
    model: &'a Model<'a>,
    arena: &'a Unwritten<'a>,
}

impl<'a> Inputs<'a> {
    fn source(&self, geometry: &'a Convolution) -> conv2d::Source<'a> {
        let taps = geometry.taps() as usize;
        conv2d::Source {
            geometry,
            input: Image::new(&geometry.input, self.arena.tensor(&geometry.input)),
            weights: rows(self.model, &geometry.weights, taps),
        }
    }

    fn epilogue(
        &self,
        requantize: &Requantize,
        residual: &'a Residual,
        output: &TensorSpec,
    ) -> conv2d::Epilogue<'a> {
        let Requantize {
            multipliers,
            biases,
            shifts,
            low,
            high,
        } = *requantize;
        conv2d::Epilogue {
            affines: affines(self.model, multipliers, biases, shifts),
            low,
            high,
            addend: self.addend(residual, output),
            collector: None,
        }
    }

    fn addend(&self, residual: &'a Residual, output: &TensorSpec) -> conv2d::Addend<'a> {
        match residual {
            Residual::None => conv2d::Addend::None,
            Residual::Identity {
                input,
                stride,
                channel_offset,
                multipliers,
            } => conv2d::Addend::Identity {
                input: (input.offset != output.offset)
                    .then(|| Image::new(input, self.arena.tensor(input))),
                stride: usize::from(*stride),
                channel_offset: usize::from(*channel_offset),
                multipliers: self.model.blob(*multipliers),
            },
            Residual::Projection {
                convolution,
                multipliers,
            } => conv2d::Addend::Projection {
                source: self.source(convolution),
                multipliers: self.model.blob(*multipliers),
            },
        }
    }
}
