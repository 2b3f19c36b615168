//! Measures a model on a board, layer by layer.

use lowbit_runtime::format::Model;
use lowbit_runtime::protocol::TickUnit;
use serde::Serialize;

use super::verify::check_model;
use super::{Client, Error};
use crate::integer::IntegerNetwork;
use crate::summary;

/// What a model costs on a board.
///
/// Durations are counted in instructions, cycles or nanoseconds, whichever the board can; the
/// others are `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Measurement {
    /// Name of the board.
    pub board: String,
    /// Processor core.
    pub core: String,
    /// Instructions of one inference. They are not cycles.
    pub instructions: Option<u64>,
    /// Cycles of one inference.
    pub cycles: Option<u64>,
    /// Nanoseconds of one inference.
    pub nanoseconds: Option<u64>,
    /// Multiplications with weights of one inference.
    pub macs: u64,
    /// Bytes of the packed model.
    pub model_bytes: usize,
    /// Bytes of arena that the model uses, as the board says.
    pub arena_bytes: u32,
    /// Most bytes of stack that were in use at once, if the board can tell.
    pub stack_bytes: Option<u32>,
    /// The operations in execution order.
    pub layers: Vec<Layer>,
}

/// One operation of the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// Name in the trained network.
    pub name: String,
    /// What it computes.
    pub op: String,
    /// Multiplications with weights.
    pub macs: u64,
    /// Its instructions.
    pub instructions: Option<u64>,
    /// Its cycles.
    pub cycles: Option<u64>,
    /// Its nanoseconds.
    pub nanoseconds: Option<u64>,
}

/// Runs the board's model, which must be `model` (a packed file), once on `pixels`.
///
/// # Errors
/// If the board has another model, does not answer, or the pixels are not those of an image.
pub fn bench(client: &mut Client, model: &[u8], pixels: &[u8]) -> Result<Measurement, Error> {
    let network = IntegerNetwork::new(model)?;
    network.check_pixels(pixels)?;
    check_model(client, network.model())?;
    let (inference, ticks) = client.measure(pixels)?;
    let info = client.info()?;
    let greeting = client.greeting();
    let unit = greeting.tick;
    let layers = layers(network.model(), &ticks, unit);
    Ok(Measurement {
        board: greeting.board.clone(),
        core: greeting.core.clone(),
        instructions: in_unit(inference.ticks, unit, TickUnit::Instructions),
        cycles: in_unit(inference.ticks, unit, TickUnit::Cycles),
        nanoseconds: in_unit(inference.ticks, unit, TickUnit::Nanoseconds),
        macs: layers.iter().map(|layer| layer.macs).sum(),
        model_bytes: model.len(),
        arena_bytes: info.arena_used,
        stack_bytes: Some(info.stack_used).filter(|&used| used > 0),
        layers,
    })
}

fn layers(model: &Model<'_>, ticks: &[u32], unit: TickUnit) -> Vec<Layer> {
    let layers = summary::layers(model).into_iter().zip(ticks);
    let layers = layers.map(|(layer, &ticks)| Layer {
        name: layer.name,
        op: layer.op,
        macs: layer.macs,
        instructions: in_unit(ticks.into(), unit, TickUnit::Instructions),
        cycles: in_unit(ticks.into(), unit, TickUnit::Cycles),
        nanoseconds: in_unit(ticks.into(), unit, TickUnit::Nanoseconds),
    });
    layers.collect()
}

fn in_unit(ticks: u64, unit: TickUnit, wanted: TickUnit) -> Option<u64> {
    (unit == wanted).then_some(ticks)
}
