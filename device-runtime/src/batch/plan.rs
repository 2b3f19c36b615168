//! The operations of a model with their parameters arranged for batches.

use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use crate::arithmetic::Affine;
use crate::calibration::Layer;
use crate::format::{Blob, Convolution, Kind, Model, Residual, Storage, TensorSpec, Weights};
use crate::kernels::pool::Windows;
use crate::kernels::{Affines, Rows};

use super::convolution::{Addend, ConvolutionStep, Source, quads, tile_channels};
use super::epilogue::Finish;
use super::lanes::Instructions;
use super::operators::{AddStep, LogitsStep, PoolStep, Reduction};
use super::slots::Slots;

/// A value of the model does not fit the 16 bits that batches are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the zero point {zero_point} of operation {operation} takes more than 16 bits")]
pub struct Unsupported {
    /// Number of the operation.
    pub operation: usize,
    /// Of its output.
    pub zero_point: i32,
}

/// All operations.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// Number of tensors that exist at the same time.
    pub(super) slots: usize,
}

/// One operation.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) kind: StepKind,
    pub(super) output: TensorSpec,
    /// Where the output is kept.
    pub(super) slot: usize,
}

/// What an operation computes; tensors are slots.
#[derive(Debug)]
pub(super) enum StepKind {
    /// Values of pixels, `256 * channels` of them.
    InputTable(Vec<i16>),
    Convolution(Box<ConvolutionStep>),
    Add(AddStep),
    Pool(PoolStep),
    Logits(LogitsStep),
}

impl Plan {
    pub(super) fn new(model: &Model<'_>, instructions: Instructions) -> Result<Self, Unsupported> {
        for (operation, output) in model.operations().map(|found| found.output).enumerate() {
            let fits = i16::try_from(output.zero_point).is_ok()
                && i16::try_from(output.zero_point.saturating_add(u8::MAX.into())).is_ok();
            if matches!(output.storage, Storage::Code8 { .. }) && !fits {
                return Err(Unsupported {
                    operation,
                    zero_point: output.zero_point,
                });
            }
        }
        let mut tensors = Slots::new(model);
        let steps = model.operations().enumerate().map(|(index, operation)| {
            let slot = tensors.begin(index);
            let output = operation.output;
            let kind = Builder {
                model,
                tensors: &tensors,
                quads: instructions.has_quads(),
            }
            .kind(&operation.kind, &output);
            Step { kind, output, slot }
        });
        Ok(Self {
            steps: steps.collect(),
            slots: tensors.count(),
        })
    }
}

impl Step {
    /// Uses other parameters for the requantizer of a convolution, as in a layer of a record.
    pub(super) fn correct(&mut self, layer: &Layer<'_>) {
        if let StepKind::Convolution(step) = &mut self.kind {
            for (channel, finish) in step.finish.iter_mut().enumerate() {
                if let Some((multiplier, bias)) = layer.get(channel) {
                    (finish.affine.multiplier, finish.affine.bias) = (multiplier, bias);
                }
            }
        }
    }
}

struct Builder<'a, 'm> {
    model: &'a Model<'m>,
    tensors: &'a Slots,
    /// Whether convolutions of codes take four channels at a time.
    quads: bool,
}

impl Builder<'_, '_> {
    fn kind(&self, kind: &Kind, output: &TensorSpec) -> StepKind {
        match kind {
            Kind::InputTable { table, .. } => {
                let (table, _) = self.model.blob(*table).as_chunks();
                StepKind::InputTable(table.iter().map(|b| i16::from_le_bytes(*b)).collect())
            }
            Kind::Conv2d {
                convolution,
                requantize,
                residual,
                ..
            } => {
                let affines = (requantize.multipliers, requantize.biases, requantize.shifts);
                let channels = output.channels.into();
                let together = tile_channels(convolution, channels);
                StepKind::Convolution(Box::new(ConvolutionStep {
                    main: self.source(convolution, channels, together),
                    finish: self.finish(affines, residual, channels),
                    low: requantize.low,
                    high: requantize.high,
                    addend: self.addend(residual, channels, together),
                }))
            }
            Kind::Logits {
                input,
                weights,
                multipliers,
                biases,
                shifts,
            } => {
                let classes = output.channels.into();
                StepKind::Logits(LogitsStep {
                    input: self.tensors.slot(input),
                    weights: self.rows(weights, input.elements() as usize, classes),
                    affines: self.affines((*multipliers, *biases, *shifts), classes),
                })
            }
            Kind::Add { .. } => self.add(kind),
            Kind::MaxPool { .. } | Kind::SumPool { .. } | Kind::AveragePool { .. } => {
                self.pool(kind)
            }
        }
    }

    fn add(&self, kind: &Kind) -> StepKind {
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
        StepKind::Add(AddStep {
            left: self.tensors.slot(&left),
            right: self.tensors.slot(&right),
            finish: Finish {
                affine: Affine {
                    multiplier: left_multiplier,
                    bias,
                    shift,
                },
                addend_multiplier: right_multiplier,
            },
            low,
            high,
        })
    }

    fn pool(&self, kind: &Kind) -> StepKind {
        let (input, window, stride, padding, reduction) = match *kind {
            Kind::MaxPool {
                input,
                window,
                stride,
                padding,
            } => (input, window, stride, padding, Reduction::Max),
            Kind::SumPool {
                input,
                window,
                stride,
            } => (input, window, stride, [0; 2], Reduction::Sum),
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
                let average = Reduction::Average { affine, low, high };
                (input, window, stride, [0; 2], average)
            }
            _ => unreachable!("only called for a pool"),
        };
        StepKind::Pool(PoolStep {
            input: self.tensors.slot(&input),
            windows: Windows {
                size: window,
                stride,
                padding,
            },
            reduction,
        })
    }

    fn source(&self, geometry: &Convolution, channels: usize, together: usize) -> Source {
        let rows = self.rows(&geometry.weights, geometry.taps() as usize, channels);
        let input = self.tensors.slot(&geometry.input);
        let shape = [channels, together];
        if self.quads && quads::suits(geometry) {
            Source::quads(input, geometry, shape, &rows)
        } else {
            Source::pairs(input, geometry, shape, &rows)
        }
    }

    fn addend(&self, residual: &Residual, channels: usize, together: usize) -> Addend {
        match residual {
            Residual::None => Addend::None,
            Residual::Identity {
                input,
                stride,
                channel_offset,
                ..
            } => Addend::Identity {
                input: self.tensors.slot(input),
                stride: usize::from(*stride),
                channel_offset: usize::from(*channel_offset),
            },
            Residual::Projection { convolution, .. } => {
                Addend::Projection(self.source(convolution, channels, together))
            }
        }
    }

    fn finish(
        &self,
        affines: (Blob, Blob, Blob),
        residual: &Residual,
        channels: usize,
    ) -> Vec<Finish> {
        let multipliers = match residual {
            Residual::None => &[],
            Residual::Identity { multipliers, .. } | Residual::Projection { multipliers, .. } => {
                self.model.blob(*multipliers)
            }
        };
        let (multipliers, _) = multipliers.as_chunks();
        let finish = |(channel, affine): (usize, Affine)| Finish {
            affine,
            addend_multiplier: multipliers
                .get(channel)
                .map_or(0, |bytes| i32::from_le_bytes(*bytes)),
        };
        let affines = self.affines(affines, channels).into_iter();
        affines.enumerate().map(finish).collect()
    }

    fn affines(
        &self,
        (multipliers, biases, shifts): (Blob, Blob, Blob),
        channels: usize,
    ) -> Vec<Affine> {
        let affines = Affines {
            multipliers: self.model.blob(multipliers),
            biases: self.model.blob(biases),
            shifts: self.model.blob(shifts),
            corrections: &[],
        };
        (0..channels).map(|channel| affines.get(channel)).collect()
    }

    /// The weights, one row of `taps` numbers per output channel.
    fn rows(&self, weights: &Weights, taps: usize, channels: usize) -> Vec<i16> {
        let rows = Rows {
            bits: weights.bits,
            layout: weights.layout,
            taps,
            codes: self.model.blob(weights.codes),
            zero_points: self.model.blob(weights.zero_points),
        };
        let mut unpacked = vec![0; taps * channels];
        for (channel, row) in unpacked.chunks_exact_mut(taps.max(1)).enumerate() {
            rows.unpack(channel, row);
        }
        unpacked
    }
}
