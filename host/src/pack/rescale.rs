//! Another step for a tensor: what writes it and what reads it.

use lowbit_runtime::arithmetic::Affine;
use lowbit_runtime::calibration::Rescale;
use lowbit_runtime::format::{Blob, Kind, Operation, Requantize, Residual, TensorSpec};

use super::Parts;

/// The file in which `operation` writes its tensor in the step `rescale`; `None` if a parameter does
/// not fit.
pub(super) fn rescaled<'a>(
    parts: &Parts<'a>,
    operation: usize,
    rescale: Rescale,
) -> Option<Parts<'a>> {
    let mut editor = Editor {
        parts: parts.clone(),
        rescale,
    };
    editor.write(operation)?;
    editor.read(operation)?;
    Some(editor.parts)
}

struct Editor<'a> {
    parts: Parts<'a>,
    rescale: Rescale,
}

/// Which of an operation's operands are meant.
#[derive(Clone, Copy)]
struct Place(u32);

impl Place {
    fn holds(self, tensor: &TensorSpec) -> bool {
        tensor.offset == self.0
    }
}

impl Editor<'_> {
    /// The operation that computes the tensor.
    fn write(&mut self, index: usize) -> Option<()> {
        let mut operation = *self.parts.operations.get(index)?;
        match &mut operation.kind {
            Kind::Conv2d {
                requantize,
                residual,
                ..
            } => {
                self.write_affines(requantize)?;
                match residual {
                    Residual::None => {}
                    Residual::Identity { multipliers, .. }
                    | Residual::Projection { multipliers, .. } => {
                        self.each(*multipliers, Rescale::written_multiplier)?;
                    }
                }
            }
            Kind::Add {
                left_multiplier,
                right_multiplier,
                bias,
                shift,
                ..
            } => {
                let affine = self.rescale.written(&Affine {
                    multiplier: *left_multiplier,
                    bias: *bias,
                    shift: *shift,
                })?;
                (*left_multiplier, *bias) = (affine.multiplier, affine.bias);
                *right_multiplier = self.rescale.written_multiplier(*right_multiplier)?;
            }
            _ => return None,
        }
        self.parts.operations[index] = operation;
        Some(())
    }

    fn write_affines(&mut self, requantize: &Requantize) -> Option<()> {
        let Requantize {
            multipliers,
            biases,
            shifts,
            ..
        } = *requantize;
        for channel in 0..shifts.length as usize {
            let [shift] = self.parts.blobs.get(shifts, channel);
            let affine = self.rescale.written(&Affine {
                multiplier: i32::from_le_bytes(self.parts.blobs.get(multipliers, channel)),
                bias: i64::from_le_bytes(self.parts.blobs.get(biases, channel)),
                shift,
            })?;
            let (multiplier, bias) = (affine.multiplier.to_le_bytes(), affine.bias.to_le_bytes());
            self.parts.blobs.put(multipliers, channel, &multiplier);
            self.parts.blobs.put(biases, channel, &bias);
        }
        Some(())
    }

    /// All operations that read what operation `writer` writes, be it through pools that change no
    /// scale.
    fn read(&mut self, writer: usize) -> Option<()> {
        let place = Place(self.parts.operations.get(writer)?.output.offset);
        for index in writer + 1..self.parts.operations.len() {
            let operation = self.parts.operations[index];
            let changed = self.read_by(index, operation, place)?;
            self.parts.operations[index] = changed;
            if place.holds(&changed.output) {
                break;
            }
        }
        Some(())
    }

    fn read_by<'o>(
        &mut self,
        index: usize,
        mut operation: Operation<'o>,
        place: Place,
    ) -> Option<Operation<'o>> {
        match &mut operation.kind {
            Kind::InputTable { .. } => {}
            Kind::Conv2d {
                convolution,
                requantize,
                residual,
                ..
            } => {
                if place.holds(&convolution.input) {
                    self.each(requantize.multipliers, Rescale::read_multiplier)?;
                }
                let (input, multipliers) = match residual {
                    Residual::None => return Some(operation),
                    Residual::Identity {
                        input, multipliers, ..
                    } => (input, multipliers),
                    Residual::Projection {
                        convolution,
                        multipliers,
                    } => (&mut convolution.input, multipliers),
                };
                if place.holds(input) {
                    self.each(*multipliers, Rescale::read_multiplier)?;
                }
            }
            Kind::Add {
                left,
                right,
                left_multiplier,
                right_multiplier,
                ..
            } => {
                let operands = [(left, left_multiplier), (right, right_multiplier)];
                for (input, multiplier) in operands {
                    if place.holds(input) {
                        *multiplier = self.rescale.read_multiplier(*multiplier)?;
                    }
                }
            }
            Kind::MaxPool { input, .. } | Kind::SumPool { input, .. } => {
                if place.holds(input) {
                    self.read(index)?;
                }
            }
            Kind::AveragePool {
                input, multiplier, ..
            } => {
                if place.holds(input) {
                    *multiplier = self.rescale.read_multiplier(*multiplier)?;
                }
            }
            Kind::Logits {
                input, multipliers, ..
            } => {
                if place.holds(input) {
                    self.each(*multipliers, Rescale::read_multiplier)?;
                }
            }
        }
        Some(operation)
    }

    /// Changes all multipliers in a blob.
    fn each(
        &mut self,
        multipliers: Blob,
        change: impl Fn(Rescale, i32) -> Option<i32>,
    ) -> Option<()> {
        for index in 0..multipliers.length as usize / size_of::<i32>() {
            let multiplier = i32::from_le_bytes(self.parts.blobs.get(multipliers, index));
            let changed = change(self.rescale, multiplier)?;
            self.parts
                .blobs
                .put(multipliers, index, &changed.to_le_bytes());
        }
        Some(())
    }
}
