//! One operation: its parameters from the model, its tensors from the arena.

use super::arena::{Arena, Parts};
use crate::arithmetic::Affine;
use crate::format::{
    Blob, Convolution, Kind, Model, Operation, Requantize, Residual, Scratch, TensorSpec, Weights,
};
use crate::kernels::pool::{self, Windows};
use crate::kernels::{Affines, Elements, ElementsMut, Image, ImageMut, Rows};
use crate::kernels::{add, conv2d, input_table, logits};

/// Computes the output of `operation`.
pub(super) fn execute(model: &Model<'_>, operation: &Operation<'_>, arena: &mut Arena<'_>) {
    let spec = operation.output;
    let mut parts = arena.split(&spec, scratch(&operation.kind));
    let output = core::mem::take(&mut parts.output);
    match &operation.kind {
        Kind::InputTable { pixels, table } => {
            let pixels = parts.slice(*pixels, model.pixel_bytes());
            let mut output = ElementsMut::new(&spec, output);
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
            let scratch = core::mem::take(&mut parts.scratch);
            let (_, scratch, _) = bytemuck::pod_align_to_mut(scratch);
            let memory = Memory { model, parts };
            let source = memory.source(convolution);
            let epilogue = memory.epilogue(requantize, residual, &spec);
            conv2d::run(
                &source,
                &epilogue,
                &mut ImageMut::new(&spec, output),
                scratch,
            );
        }
        Kind::Add {
            left,
            right,
            left_multiplier,
            right_multiplier,
            bias,
            shift,
            low,
            high,
        } => {
            let elements = |input: &TensorSpec| {
                (input.offset != spec.offset).then(|| Elements::new(input, parts.tensor(input)))
            };
            let add = add::Add {
                affine: Affine {
                    multiplier: *left_multiplier,
                    bias: *bias,
                    shift: *shift,
                },
                right_multiplier: *right_multiplier,
                low: *low,
                high: *high,
            };
            let count = spec.elements() as usize;
            let mut output = ElementsMut::new(&spec, output);
            add::run(&add, elements(left), elements(right), count, &mut output);
        }
        Kind::MaxPool {
            input,
            window,
            stride,
            padding,
        } => {
            let windows = Windows {
                size: *window,
                stride: *stride,
                padding: *padding,
            };
            let input = Image::new(input, parts.tensor(input));
            pool::max(&input, &windows, &mut ImageMut::new(&spec, output));
        }
        Kind::SumPool {
            input,
            window,
            stride,
        } => {
            let windows = unpadded(window, stride);
            let input = Image::new(input, parts.tensor(input));
            pool::sum(&input, &windows, &mut ImageMut::new(&spec, output));
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
            let affine = Affine {
                multiplier: *multiplier,
                bias: *bias,
                shift: *shift,
            };
            let windows = unpadded(window, stride);
            let input = Image::new(input, parts.tensor(input));
            let mut output = ImageMut::new(&spec, output);
            pool::average(&input, &windows, &affine, [*low, *high], &mut output);
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
            let features = Elements::new(input, parts.tensor(input));
            let mut output = ElementsMut::new(&spec, output);
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

fn scratch(kind: &Kind) -> Scratch {
    match kind {
        Kind::Conv2d { scratch, .. } => *scratch,
        _ => Scratch::default(),
    }
}

fn unpadded(window: &[u8; 2], stride: &[u8; 2]) -> Windows {
    Windows {
        size: *window,
        stride: *stride,
        padding: [0; 2],
    }
}

fn rows<'a>(model: &Model<'a>, weights: &Weights, taps: usize) -> Rows<'a> {
    Rows {
        bits: weights.bits,
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
    }
}

/// What a convolution reads.
struct Memory<'a> {
    model: &'a Model<'a>,
    parts: Parts<'a>,
}

impl<'a> Memory<'a> {
    fn source(&self, geometry: &'a Convolution) -> conv2d::Source<'a> {
        let taps = geometry.taps() as usize;
        conv2d::Source {
            geometry,
            input: Image::new(&geometry.input, self.parts.tensor(&geometry.input)),
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
                    .then(|| Image::new(input, self.parts.tensor(input))),
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
