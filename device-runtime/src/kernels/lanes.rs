//! Several products of codes in one multiplication.
//!
//! # Four, 32 x 32 -> 64 bits
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
//!
//! # Two, 32 x 32 -> 32 bits
//! Cores without that multiplication multiply the codes of two positions by one code, and have 16
//! bits for each sum:
//!
//! ```text
//!   a = a0 + (a1 << 16)                    w = w0 + (w1 << 16)
//!   a * w1 = a0 w1 + (a1 w1 << 16)         a * w = a * w0 + (a0 w1 << 16), without what is above
//! ```
//!
//! So `w` need not be masked: what `w1` adds to the upper sum is the lower sum of the other channel.

use crate::format::{Convolution, Layout, Storage};

/// Shortest chunk that pays for setting the sums of a chunk apart.
const SHORTEST_CHUNK: u32 = 16;
/// Longest chunk: the rounds of the unrolled loop times its taps.
pub(super) const LONGEST_CHUNK: u32 = 72;
/// Bits of a word for each of two sums.
const HALF: u32 = 16;
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
    /// Lanes of four products for the widths of a convolution's operands with sums of `taps`
    /// products; `None` if they leave no room for a chunk worth its while.
    const fn four(weight_bits: u8, activation_bits: u8, taps: u64) -> Option<Self> {
        if weight_bits < 2 || weight_bits > Layout::PAIRS_MOST_BITS {
            return None;
        }
        if activation_bits < 1 || activation_bits > 8 {
            return None;
        }
        let channel = 32 - weight_bits as u32;
        let position = channel / 2;
        let product = largest_product(weight_bits, activation_bits);
        let chunk = (((1u64 << position) - 1) / product) as u32 / ROUND * ROUND;
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

    /// Lanes of two products for sums of `taps` products.
    const fn two(weight_bits: u8, activation_bits: u8, taps: u32) -> Self {
        let most = u16::MAX as u64 / largest_product(weight_bits, activation_bits);
        let chunk = most as u32 / ROUND * ROUND;
        let rounded = taps.next_multiple_of(ROUND);
        let chunks = rounded.div_ceil(chunk);
        Self {
            position: HALF,
            channel: HALF,
            chunk,
            chunks,
            first: rounded - (chunks - 1) * chunk,
        }
    }

    /// Lanes for the operands of `convolution`; `None` if its weights do not lie in pairs, its input
    /// has no code for padding, or a sum of codes outgrows its field.
    pub(super) fn of(convolution: &Convolution) -> Option<Self> {
        let weights = &convolution.weights;
        let paired = weights.layout == Layout::Pairs;
        let four = paired.then(|| Self::suiting(convolution, weights.bits))??;
        match convolution.input.storage {
            Storage::Code8 { bits } if !cfg!(lowbit_armv7m) => {
                Some(Self::two(weights.bits, bits, convolution.taps() as u32))
            }
            _ => Some(four),
        }
    }

    fn suiting(convolution: &Convolution, weight_bits: u8) -> Option<Self> {
        let input = &convolution.input;
        let Storage::Code8 { bits } = input.storage else {
            return None;
        };
        let highest = (1i64 << bits) - 1;
        let padding = -i64::from(input.zero_point);
        let channels = i64::from(input.channels);
        let lanes = Self::four(weight_bits, bits, convolution.taps())?;
        // The codes of a pixel are summed in their lanes, for the weights' zero points.
        let fits = channels * highest < 1 << lanes.position;
        let padded = (0..=highest).contains(&padding);
        (convolution.groups == 1 && fits && padded).then_some(lanes)
    }
}

const fn largest_product(weight_bits: u8, activation_bits: u8) -> u64 {
    ((1 << weight_bits) - 1) * ((1 << activation_bits) - 1)
}

/// No sum of a chunk outgrows its half of a word, at any width that has lanes.
const _: () = {
    let mut weight_bits = 2;
    while weight_bits <= Layout::PAIRS_MOST_BITS {
        let mut activation_bits = 1;
        while activation_bits <= 8 {
            if Lanes::four(weight_bits, activation_bits, 1).is_some() {
                let chunk = Lanes::two(weight_bits, activation_bits, 1).chunk as u64;
                let sum = chunk * largest_product(weight_bits, activation_bits);
                assert!(chunk >= SHORTEST_CHUNK as u64 && sum < 1 << HALF);
            }
            activation_bits += 1;
        }
        weight_bits += 1;
    }
};

/// The layout in which the weights of `convolution`, codes of `weight_bits` bits, are fastest. Its
/// member `weights` does not matter.
#[must_use]
pub fn fastest_layout(convolution: &Convolution, weight_bits: u8) -> Layout {
    match Lanes::suiting(convolution, weight_bits) {
        Some(_) => Layout::Pairs,
        None => Layout::Rows,
    }
}
