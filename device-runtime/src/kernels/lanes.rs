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
//!
//! # Two, 32 x 32 -> 64 bits
//! Cores with the first multiplication, but no other for products of 6 to 8 bits, multiply the codes of two
//! positions, [`WIDE`] bits apart, by one code. The upper code just fits its word, and its sum has what is
//! left of 64 bits.
//!
//! # Products that fill their fields
//! Codes whose products fill their halves are summed twice, as words and in their upper halves alone.
//! The upper sum comes off the other, and leaves the lower one.

use crate::format::{Convolution, Layout, Storage};

/// Shortest chunk that pays for setting the sums of a chunk apart.
const SHORTEST_CHUNK: u32 = 16;
/// Longest chunk: the rounds of the unrolled loop times its taps.
pub(super) const LONGEST_CHUNK: u32 = 72;
/// Bits of a word for each of two sums.
const HALF: u32 = 16;
/// Bits between the codes of two positions that leave 8 for the upper one.
pub(super) const WIDE: u32 = 24;
/// Most taps of a chunk of such codes.
pub(super) const LONGEST_WIDE_CHUNK: u32 = 256;
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
    /// Products fill their fields: no two of them can be summed without setting them apart.
    pub(super) fills: bool,
}

impl Lanes {
    /// Lanes of four products for the widths of a convolution's operands with sums of `taps`
    /// products; `None` if they leave no room for a chunk worth its while.
    const fn four(weight_bits: u8, activation_bits: u8, taps: u64) -> Option<Self> {
        if weight_bits < 2 || weight_bits > Layout::PAIRS_MOST_BITS {
            return None;
        }
        let channel = 32 - weight_bits as u32;
        let position = channel / 2;
        let product = largest_product(weight_bits, activation_bits);
        let chunk = most_products(position, weight_bits, activation_bits) / ROUND * ROUND;
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
            fills: false,
        })
    }

    /// Lanes of two products for sums of `taps` products.
    const fn two(weight_bits: u8, activation_bits: u8, taps: u32) -> Self {
        let most = most_products(HALF, weight_bits, activation_bits);
        let fills = most < SHORTEST_CHUNK;
        let rounded = taps.next_multiple_of(ROUND);
        let chunk = if fills { rounded } else { most / ROUND * ROUND };
        let others = match rounded.saturating_sub(1).checked_div(chunk) {
            Some(others) => others,
            None => 0,
        };
        Self {
            position: HALF,
            channel: HALF,
            chunk,
            chunks: others + 1,
            first: rounded - others * chunk,
            fills,
        }
    }

    /// Lanes of two products in 64 bits for sums of `taps` products of any width.
    const fn two_wide(taps: u32) -> Self {
        let rounded = taps.next_multiple_of(ROUND);
        let others = rounded.saturating_sub(1) / LONGEST_WIDE_CHUNK;
        Self {
            position: WIDE,
            channel: HALF,
            chunk: LONGEST_WIDE_CHUNK,
            chunks: others + 1,
            first: rounded - others * LONGEST_WIDE_CHUNK,
            fills: false,
        }
    }

    /// Lanes for the operands of `convolution`; `None` if the layout of its weights does not suit
    /// them, its input has no code for padding, or a sum of codes outgrows its field.
    pub(super) fn of(convolution: &Convolution) -> Option<Self> {
        let weights = &convolution.weights;
        if cfg!(lowbit_armv7m) && weights.layout == Layout::Pairs {
            return Self::suiting(convolution, weights.bits);
        }
        if cfg!(lowbit_cortex_m_dsp) {
            return None;
        }
        let bits = code_bits(convolution)?;
        let taps = convolution.taps();
        let sum = largest_product(weights.bits, bits).saturating_mul(taps);
        let fits = (1..=i32::MAX as u64).contains(&sum);
        let lanes = fits.then(|| match cfg!(lowbit_armv7m) {
            true => Self::two_wide(taps as u32),
            false => Self::two(weights.bits, bits, taps as u32),
        })?;
        lanes.hold_pixel(convolution, bits).then_some(lanes)
    }

    fn suiting(convolution: &Convolution, weight_bits: u8) -> Option<Self> {
        let bits = code_bits(convolution)?;
        let lanes = Self::four(weight_bits, bits, convolution.taps())?;
        lanes.hold_pixel(convolution, bits).then_some(lanes)
    }

    /// Whether the codes of a pixel can be summed in their lanes, for the weights' zero points.
    fn hold_pixel(&self, convolution: &Convolution, bits: u8) -> bool {
        u64::from(convolution.input.channels) * ((1 << bits) - 1) < 1 << self.position
    }
}

/// Bits of the codes that `convolution` reads; `None` if it reads values, it has groups, or no code
/// stands for padding.
fn code_bits(convolution: &Convolution) -> Option<u8> {
    let Storage::Code8 { bits } = convolution.input.storage else {
        return None;
    };
    let padding = -i64::from(convolution.input.zero_point);
    let padded = (0..1 << bits).contains(&padding);
    (convolution.groups == 1 && padded && bits > 0).then_some(bits)
}

const fn largest_product(weight_bits: u8, activation_bits: u8) -> u64 {
    ((1 << weight_bits) - 1) * ((1 << activation_bits) - 1)
}

/// The most products that can be summed in a field of `bits` bits.
const fn most_products(bits: u32, weight_bits: u8, activation_bits: u8) -> u32 {
    let product = largest_product(weight_bits, activation_bits);
    match ((1u64 << bits) - 1).checked_div(product) {
        Some(most) => most as u32,
        None => 0,
    }
}

/// No sum of a chunk, and no product of codes that fill their fields, outgrows its half of a word.
const _: () = {
    let mut weight_bits = 2;
    while weight_bits <= 8 {
        let mut activation_bits = 1;
        while activation_bits <= 8 {
            let lanes = Lanes::two(weight_bits, activation_bits, u16::MAX as u32);
            let together = if lanes.fills { 1 } else { lanes.chunk as u64 };
            assert!(together * largest_product(weight_bits, activation_bits) < 1 << HALF);
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
