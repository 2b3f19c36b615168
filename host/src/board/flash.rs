//! Puts a model on a board.

use lowbit_runtime::format::{CHECKSUM, Kind, Model, Operation, Residual};
use lowbit_runtime::protocol::ModelInfo;

use super::{Client, Error, Greeting, ModelPart};
use crate::integer::IntegerNetwork;

/// What a model takes of a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// Bytes of the packed model, and of a slot.
    pub slot: [u64; 2],
    /// Bytes of arena that the model needs, and that the board has.
    pub arena: [u64; 2],
}

impl Client {
    /// Makes `model`, a packed file, the board's model, unless it is that already. `progress`
    /// learns how many bytes have arrived.
    ///
    /// # Errors
    /// If the bytes are no model, the model does not fit (then nothing is sent), or the board
    /// refuses it or does not answer; then the board keeps the model that it had, if it has room
    /// for two.
    pub fn flash(
        &mut self,
        model: &[u8],
        progress: &mut dyn FnMut(usize),
    ) -> Result<ModelInfo, Error> {
        let network = IntegerNetwork::new(model)?;
        check_fit(network.model(), model.len(), self.greeting())?;
        match self.greeting().model {
            Some(info) if info.identity == *network.model().identity() => Ok(info),
            _ => self.write_model(model, CHECKSUM.checksum(model), progress),
        }
    }
}

/// Compares what a model of `length` bytes needs with what a board has.
///
/// # Errors
/// If it needs more; the error has the numbers and the layer to blame.
pub fn check_fit(model: &Model<'_>, length: usize, board: &Greeting) -> Result<Fit, Error> {
    let fit = Fit {
        slot: [length as u64, board.slot_bytes.into()],
        arena: [model.header().arena_bytes.into(), board.arena_bytes.into()],
    };
    let name = || board.board.clone();
    if fit.slot[0] > fit.slot[1] {
        return Err(Error::SlotTooSmall {
            board: name(),
            model: fit.slot[0],
            slot: fit.slot[1],
            largest: largest(model, flash_bytes),
        });
    }
    if fit.arena[0] > fit.arena[1] {
        return Err(Error::ArenaTooSmall {
            board: name(),
            model: fit.arena[0],
            arena: fit.arena[1],
            largest: largest(model, arena_bytes),
        });
    }
    Ok(fit)
}

/// The operation that takes most by some measure.
fn largest(model: &Model<'_>, measure: fn(&Operation<'_>) -> u64) -> ModelPart {
    let parts = model.operations().map(|operation| ModelPart {
        name: operation.name.to_owned(),
        bytes: measure(&operation),
    });
    parts.max_by_key(|part| part.bytes).unwrap_or(ModelPart {
        name: String::new(),
        bytes: 0,
    })
}

/// Bytes of an operation's parameters.
fn flash_bytes(operation: &Operation<'_>) -> u64 {
    let blobs = match &operation.kind {
        Kind::InputTable { table, .. } => table.length,
        Kind::Conv2d {
            convolution,
            residual,
            ..
        } => {
            let skipped = match residual {
                Residual::Projection { convolution, .. } => convolution.weights.codes.length,
                Residual::None | Residual::Identity { .. } => 0,
            };
            convolution.weights.codes.length.saturating_add(skipped)
        }
        Kind::Logits { weights, .. } => weights.codes.length,
        Kind::Add { .. }
        | Kind::MaxPool { .. }
        | Kind::SumPool { .. }
        | Kind::AveragePool { .. } => 0,
    };
    blobs.into()
}

/// Bytes of arena that an operation works on.
fn arena_bytes(operation: &Operation<'_>) -> u64 {
    let read = match &operation.kind {
        Kind::InputTable { .. } => 0,
        Kind::Conv2d {
            convolution,
            residual,
            scratch,
            ..
        } => {
            let skipped = match residual {
                Residual::None => 0,
                Residual::Identity { input, .. } => input.bytes(),
                Residual::Projection { convolution, .. } => convolution.input.bytes(),
            };
            convolution.input.bytes() + skipped + scratch.length as usize
        }
        Kind::Add { left, right, .. } => left.bytes() + right.bytes(),
        Kind::MaxPool { input, .. }
        | Kind::SumPool { input, .. }
        | Kind::AveragePool { input, .. }
        | Kind::Logits { input, .. } => input.bytes(),
    };
    (read + operation.output.bytes()) as u64
}
