//! Four products in one 32 x 32 -> 64-bit multiplication.
//!
//! The codes of two positions lie `position` bits apart in one word, the codes of two output
//! channels `channel` bits apart in another. Their product holds the four products side by side:
//!
//! ```text
//!   a = a0 + (a1 << position)              w = w0 + (w1 << channel)
//!   a * w = a0 w0 + (a1 w0 << position) + (a0 w1 << channel) + (a1 w1 << (position + channel))
//! ```
//!
//! A sum of such products keeps its four sums apart for as long as none of the first three outgrows
//! the `position` bits (or `channel - position`, whichever are fewer) between it and its neighbour:
//! that many taps are a *chunk*. The fourth, and the first three once they have been set apart, have
//! more room.

use crate::format::{Convolution, Layout, Storage};

/// Shortest chunk that pays for setting the sums of a chunk apart.
const SHORTEST_CHUNK: u32 = 16;
/// Longest chunk: the rounds of the unrolled loop times its taps.
pub(super) const LONGEST_CHUNK: u32 = 72;
/// Taps per round; chunks are whole rounds.
pub(super) const ROUND: u32 = 4;

/// Where the fields of a product lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lanes {
    /// Bits between the codes of two positions.
    pub(super) position: u32,
    /// Bits between the codes of two channels.
    pub(super) channel: u32,
    /// Taps whose products can be summed before the sums must be set apart.
    pub(super) chunk: u32,
    /// Chunks of a row of taps, filled up to whole rounds.
    pub(super) chunks: u32,
    /// Taps of the first chunk, which takes what the others leave.
    pub(super) first: u32,
}

impl Lanes {
    /// Lanes for the widths of a convolution's operands with sums of `taps` products; `None` if
    /// they leave no room for a chunk worth its while.
    pub(super) const fn new(weight_bits: u8, activation_bits: u8, taps: u64) -> Option<Self> {
        if weight_bits < 2 || weight_bits > Layout::PAIRS_MOST_BITS || activation_bits > 8 {
            return None;
        }
        let channel = 32 - weight_bits as u32;
        let position = channel / 2;
        let product = ((1u64 << weight_bits) - 1) * ((1 << activation_bits) - 1);
        let chunk = match ((1u64 << position) - 1).checked_div(product) {
            Some(chunk) => chunk as u32 / ROUND * ROUND,
            None => 0,
        };
        // The fourth sum is what is left of 64 bits, for all taps.
        let fourth = 1u64 << (64 - channel - position);
        let fits = match product.checked_mul(taps) {
            Some(sum) => sum < fourth,
            None => false,
        };
        if chunk < SHORTEST_CHUNK || !fits || taps == 0 {
            return None;
        }
        let chunk = if chunk < LONGEST_CHUNK {
            chunk
        } else {
            LONGEST_CHUNK
        };
        // The fourth sum has at most 30 bits, and no more taps.
        let rounded = (taps as u32).next_multiple_of(ROUND);
        let chunks = rounded.div_ceil(chunk);
        Some(Self {
            position,
            channel,
            chunk,
            chunks,
            first: rounded - (chunks - 1) * chunk,
        })
    }

    /// Lanes for the operands of `convolution`; `None` if its weights do not lie in pairs, its input
    /// has no code for padding, or a sum of codes outgrows its field.
    pub(super) fn of(convolution: &Convolution) -> Option<Self> {
        let paired = convolution.weights.layout == Layout::Pairs;
        paired.then(|| Self::suiting(convolution, convolution.weights.bits))?
    }

    fn suiting(convolution: &Convolution, weight_bits: u8) -> Option<Self> {
        let input = &convolution.input;
        let Storage::Code8 { bits } = input.storage else {
            return None;
        };
        let highest = (1i64 << bits) - 1;
        let padding = -i64::from(input.zero_point);
        let channels = i64::from(input.channels);
        let lanes = Self::new(weight_bits, bits, convolution.taps())?;
        // The codes of a pixel are summed in their lanes, for the weights' zero points.
        let fits = channels * highest < 1 << lanes.position;
        let padded = (0..=highest).contains(&padding);
        (convolution.groups == 1 && fits && padded).then_some(lanes)
    }
}

/// The layout in which the weights of `convolution`, codes of `weight_bits` bits, are fastest. Its
/// member `weights` does not matter.
#[must_use]
pub fn fastest_layout(convolution: &Convolution, weight_bits: u8) -> Layout {
    match Lanes::suiting(convolution, weight_bits) {
        Some(_) => Layout::Pairs,
        None => Layout::Rows,
    }
}
