//! Widths of weights, layer by layer, with which a network fits into a packed file of a given size
//! and answers as much like the float network as it can.
//!
//! Each layer is quantized alone, at every width, and the change of the network's answers on
//! generated images measured ([`sensitivity`]). Changes are taken to add up, and [`allocation`] finds
//! the widths with the least sum within the bytes. The file is packed to know its size.

pub mod allocation;
mod error;
pub mod sensitivity;

use candle_core::Tensor;
use lowbit_runtime::format::Layout;

pub use error::{Error, Result};

use self::{
    allocation::Choice,
    sensitivity::{LayerSensitivity, measure},
};
use crate::{
    dfq::{self, Bits, Widths, refinement},
    graph::{Graph, QuantizedGraph},
    lower, pack,
};

/// How often the budget is corrected by what the file really takes.
const CORRECTIONS: usize = 16;

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// Most bytes of the packed file, with the statistics of the fast calibration.
    pub bytes: u64,
    /// Widths that weights may have, 2 to 8, in rising order, at least one.
    pub widths: &'a [u8],
    /// Width of activations, 2 to 8. They take no room in the file.
    pub activations: u8,
    /// Images that the file carries with their results, height x width x channels bytes each.
    pub golden: &'a [Vec<u8>],
}

/// What comes of it.
#[derive(Debug, Clone)]
pub struct Suggestion {
    /// What was measured, and of every layer the position of its width in [`Target::widths`].
    pub layers: Vec<(LayerSensitivity, usize)>,
    /// The widths of all layers.
    pub widths: Widths,
    /// The network with these and ranges of the least squared error, nothing trained.
    pub network: QuantizedGraph,
    /// Mean `KL(P || Q)` of its answers, in nats.
    pub divergence: f64,
    /// Bytes of the packed file.
    pub model_bytes: u64,
    /// Bytes of arena that an inference needs.
    pub arena_bytes: u32,
}

/// Finds widths for `graph`, measured on `images`, `[batch, channels, height, width]`, normalised.
/// `progress` is called after every layer at every width.
///
/// # Errors
/// [`Error::TooSmall`] if not even the least widths fit; if the images do not fit the network, or it
/// has no integer form.
pub fn suggest(
    graph: &Graph,
    images: &Tensor,
    target: &Target<'_>,
    progress: &mut dyn FnMut(),
) -> Result<Suggestion> {
    let uniform = target.widths.iter().map(|&weights| {
        let widths = Widths::from(target.bits(weights)).of(graph)?;
        refinement::fitted(graph, widths, images)
    });
    let uniform: Vec<QuantizedGraph> = uniform.collect::<dfq::Result<_>>()?;
    let layers = measure(graph, images, &uniform, progress)?;
    let choices: Vec<Vec<Choice>> = layers
        .iter()
        .map(|layer| choices(layer, target.widths))
        .collect();
    let packed = |allocation: &[usize]| Packed::new(&uniform, &layers, allocation, target);
    let least = packed(&vec![0; layers.len()])?;
    let too_small = || Error::TooSmall {
        target: target.bytes,
        least: least.bytes,
    };
    let weights_at_least: u64 = choices.iter().map(|choices| choices[0].bytes).sum();
    let others = least.bytes.saturating_sub(weights_at_least);
    let mut budget = target
        .bytes
        .checked_sub(others)
        .filter(|_| least.bytes <= target.bytes)
        .ok_or_else(too_small)?;
    let mut found = least;
    let mut chosen = vec![0; layers.len()];
    for _ in 0..CORRECTIONS {
        let Some(allocation) = allocation::allocate(&choices, budget) else {
            break;
        };
        let candidate = packed(&allocation)?;
        let excess = candidate.bytes.saturating_sub(target.bytes);
        if excess == 0 {
            (found, chosen) = (candidate, allocation);
            break;
        }
        budget = budget.saturating_sub(excess);
    }
    Ok(Suggestion {
        divergence: sensitivity::divergence_of(&found.network, images)?,
        widths: widths(&layers, &chosen, target),
        layers: layers.into_iter().zip(chosen).collect(),
        network: found.network,
        model_bytes: found.bytes,
        arena_bytes: found.arena_bytes,
    })
}

fn choices(layer: &LayerSensitivity, widths: &[u8]) -> Vec<Choice> {
    let [taps, channels] = layer.weights;
    let bytes = |bits| {
        // What most layers are packed in at this width.
        let layout = if bits <= Layout::PAIRS_MOST_BITS {
            Layout::Pairs
        } else {
            Layout::Rows
        };
        layout.bytes(bits, taps as u64, channels as u16)
    };
    let choice = |(&bits, &cost): (&u8, &f64)| Choice {
        bytes: bytes(bits),
        cost,
    };
    widths.iter().zip(&layer.divergences).map(choice).collect()
}

impl Target<'_> {
    fn bits(&self, weights: u8) -> Bits {
        Bits {
            weights,
            activations: self.activations,
        }
    }
}

/// A network with some widths, packed to know its size.
struct Packed {
    network: QuantizedGraph,
    bytes: u64,
    arena_bytes: u32,
}

impl Packed {
    /// Takes every layer's weights from the one of the networks in `uniform` that `allocation` names.
    fn new(
        uniform: &[QuantizedGraph],
        layers: &[LayerSensitivity],
        allocation: &[usize],
        target: &Target<'_>,
    ) -> Result<Self> {
        // They differ in nothing but the weights.
        let mut network = uniform[0].clone();
        for (layer, &chosen) in layers.iter().zip(allocation) {
            let (node, source) = (layer.node, &uniform[chosen]);
            network.weight_bits[node.0] = source.weight_bits[node.0];
            let ranges = source.weight_ranges.get(&node).cloned();
            network
                .weight_ranges
                .extend(ranges.map(|ranges| (node, ranges)));
        }
        let options = lower::Options {
            calibration: true,
            ..lower::Options::default()
        };
        let mut program = lower::lower(&network, &options)?;
        program.keep_fast_layers();
        Ok(Self {
            bytes: pack::pack(&program, target.golden)?.len() as u64,
            arena_bytes: program.arena_bytes,
            network,
        })
    }
}

/// The commonest width for most layers, the others by name.
fn widths(layers: &[LayerSensitivity], chosen: &[usize], target: &Target<'_>) -> Widths {
    let bits = |index: usize| target.bits(target.widths[index]);
    let count = |index: &usize| chosen.iter().filter(|&other| other == index).count();
    let most = chosen.iter().copied().max_by_key(count).unwrap_or(0);
    let named = layers.iter().zip(chosen);
    Widths {
        most: bits(most),
        named: named
            .filter(|(_, index)| **index != most)
            .map(|(layer, &index)| (layer.name.clone(), bits(index)))
            .collect(),
    }
}

#[cfg(test)]
mod tests;
