//! Operands in lanes, see [`Lanes`].

#[cfg(not(lowbit_armv7m))]
use super::Sums;
use super::{CHANNELS, Source, WIDTH};
use crate::format::Layout;
use crate::kernels::elements::Elements;
use crate::kernels::lanes::Lanes;
use crate::kernels::parameters::Rows;

#[cfg(lowbit_armv7m)]
use crate::kernels::cortex_m_dsp::lanes_pack as pack_pairs;
#[cfg(lowbit_armv7m)]
pub(super) use crate::kernels::cortex_m_dsp::lanes_product as product;

#[cfg(lowbit_armv6m)]
use crate::kernels::armv6m::{filled_product, lanes_chunk as chunk_product};
#[cfg(lowbit_riscv32m)]
use crate::kernels::riscv32::{filled_product, lanes_chunk as chunk_product};

/// Packs row `y` of the input, `None` outside the image, as the tile whose first column is `x` sees
/// it: per kernel column and channel two words, each with the codes of two positions. Returns the
/// sums of the codes per position.
pub(super) fn pack_row(
    source: &Source<'_>,
    padding: &[u8],
    lanes: Lanes,
    [y, x]: [Option<usize>; 2],
    into: &mut [u32],
) -> [i32; WIDTH] {
    let geometry = source.geometry;
    let channels = source.input.channels;
    let padding = padding.get(..channels).unwrap_or_default();
    let stride = usize::from(geometry.stride_x);
    let first = x.unwrap_or_default() * stride;
    let mut sums = [0; WIDTH];
    let columns = into.chunks_exact_mut((channels * WIDTH / 2).max(1));
    for (column, into) in (first..).zip(columns) {
        let pixels = core::array::from_fn(|position| {
            let x = column + position * stride;
            let x = x.checked_sub(geometry.pad_left.into());
            match (y, x) {
                (Some(y), Some(x)) if x < source.input.width => {
                    pixel(source, y, x).unwrap_or(padding)
                }
                _ => padding,
            }
        });
        let column_sums = pack_pixels(pixels, lanes.position, into);
        for (sum, column) in sums.iter_mut().zip(column_sums) {
            *sum += column;
        }
    }
    sums
}

/// The codes of a pixel; `None` behind the last.
fn pixel<'a>(source: &Source<'a>, y: usize, x: usize) -> Option<&'a [u8]> {
    let Elements::Code8 { codes, .. } = source.input.elements else {
        return None;
    };
    let codes = codes.get(source.input.pixel(y, x)..)?;
    codes.get(..source.input.channels)
}

/// Returns the sum of the codes of each pixel.
fn pack_pixels(pixels: [&[u8]; WIDTH], shift: u32, into: &mut [u32]) -> [i32; WIDTH] {
    #[cfg(all(lowbit_armv7m, not(lowbit_cortex_m_dsp)))]
    if shift == crate::kernels::lanes::WIDE {
        return crate::kernels::cortex_m_dsp::wide_pack(pixels, into);
    }
    // Sums fit a lane.
    #[cfg(not(lowbit_armv6m))]
    let [low, high] = pack_pairs(pixels, shift, into);
    #[cfg(lowbit_armv6m)]
    let [low, high] = crate::kernels::armv6m::lanes_pack(pixels, into);
    let mask = (1u32 << shift) - 1;
    [low & mask, low >> shift, high & mask, high >> shift].map(|sum| sum as i32)
}

/// Returns the sums of the words with the first and of those with the second two positions.
#[cfg(not(any(lowbit_armv7m, lowbit_armv6m)))]
fn pack_pairs(pixels: [&[u8]; WIDTH], shift: u32, into: &mut [u32]) -> [u32; 2] {
    let [first, second, third, fourth] = pixels;
    let mut sums = [0u32; 2];
    let words = into.as_chunks_mut::<2>().0.iter_mut();
    let codes = first.iter().zip(second).zip(third).zip(fourth);
    for (words, (((&a, &b), &c), &d)) in words.zip(codes) {
        let pair = |low: u8, high: u8| u32::from(low) | u32::from(high) << shift;
        *words = [pair(a, b), pair(c, d)];
        for (sum, word) in sums.iter_mut().zip(words) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums
}

/// Unpacks the weights of the channel pair that starts with `channel` into words with the codes of
/// both; what is left of `into` becomes 0.
pub(super) fn unpack(rows: &Rows<'_>, channel: usize, into: &mut [u32]) {
    match rows.layout {
        Layout::Pairs => unpack_pairs(rows, rows.pair_words(channel / CHANNELS), into),
        #[cfg(not(lowbit_cortex_m_dsp))]
        Layout::Rows => unpack_rows(rows, channel, into),
        // Such weights are not in lanes.
        #[cfg(lowbit_cortex_m_dsp)]
        Layout::Rows => {}
    }
    let behind = into.get_mut(rows.taps..).unwrap_or_default();
    behind.fill(0);
}

/// Whole words by the core's own code, then the one that is not.
#[cfg(any(lowbit_armv6m, lowbit_armv7m))]
fn unpack_pairs(rows: &Rows<'_>, words: &[[u8; 4]], into: &mut [u32]) {
    #[cfg(lowbit_armv6m)]
    use crate::kernels::armv6m::lanes_unpack;
    #[cfg(lowbit_armv7m)]
    use crate::kernels::cortex_m_dsp::lanes_unpack;
    let taps = into.get_mut(..rows.taps).unwrap_or_default();
    let done = lanes_unpack(rows.bits, words, taps);
    let per_word = Layout::pairs_per_word(rows.bits) as usize;
    let rest = taps.get_mut(done * per_word..).unwrap_or_default();
    if let Some(word) = words.get(done) {
        unpack_word(rows.bits.into(), word, rest);
    }
}

#[cfg(not(any(lowbit_armv6m, lowbit_armv7m)))]
fn unpack_pairs(rows: &Rows<'_>, words: &[[u8; 4]], into: &mut [u32]) {
    match rows.bits {
        2 => unpack_words::<2, 8>(words, into),
        3 => unpack_words::<3, 5>(words, into),
        4 => unpack_words::<4, 4>(words, into),
        5 => unpack_words::<5, 3>(words, into),
        _ => {}
    }
}

/// Codes of 16 bits each.
#[cfg(not(lowbit_cortex_m_dsp))]
fn unpack_rows(rows: &Rows<'_>, channel: usize, into: &mut [u32]) {
    let bytes = |channel: usize| {
        let from = channel.checked_mul(rows.taps)?;
        rows.codes.get(from..)?.get(..rows.taps)
    };
    if let (8, Some(first), Some(second)) = (rows.bits, bytes(channel), bytes(channel + 1)) {
        for ((both, &first), &second) in into.iter_mut().zip(first).zip(second) {
            *both = u32::from(first) | u32::from(second) << 16;
        }
        return;
    }
    let codes = Rows {
        zero_points: &[],
        ..*rows
    };
    let into: &mut [[i16; CHANNELS]] = bytemuck::must_cast_slice_mut(into);
    for half in 0..CHANNELS {
        let mut groups = into.chunks_mut(8);
        codes.unpack_groups(channel + half, |codes| {
            let group = groups.next().unwrap_or_default();
            for (both, code) in group.iter_mut().zip(codes) {
                if let Some(half) = both.get_mut(half) {
                    *half = code;
                }
            }
        });
    }
}

#[cfg(not(any(lowbit_armv6m, lowbit_armv7m)))]
fn unpack_words<const BITS: u32, const TAPS: usize>(words: &[[u8; 4]], into: &mut [u32]) {
    let (groups, rest) = into.as_chunks_mut::<TAPS>();
    let whole = groups.len();
    for (group, word) in groups.iter_mut().zip(words) {
        unpack_word(BITS, word, group);
    }
    if let Some(word) = words.get(whole) {
        unpack_word(BITS, word, rest);
    }
}

#[inline(always)]
fn unpack_word(bits: u32, word: &[u8; 4], into: &mut [u32]) {
    let word = u32::from_le_bytes(*word);
    for (tap, to) in (0..).zip(into) {
        *to = both_codes(bits, word, tap);
    }
}

/// The codes of both channels for a tap, the second at [`Lanes::channel`].
#[inline(always)]
fn both_codes(bits: u32, word: u32, tap: u32) -> u32 {
    let code = 1u32.wrapping_shl(bits).wrapping_sub(1);
    let from = 2 * bits * tap;
    if cfg!(lowbit_armv7m) {
        let second = code.wrapping_shl(32 - bits);
        return word.rotate_right(from + bits) & (code | second);
    }
    word.wrapping_shr(from + bits) & code | (word.wrapping_shr(from) & code) << 16
}

/// Sums of the codes of both channels.
pub(super) fn weight_sums(weights: &[u32], lanes: Lanes) -> [i32; CHANNELS] {
    let mask = (1 << (32 - lanes.channel)) - 1;
    weights.iter().fold([0; CHANNELS], |sums, &word| {
        let codes = [word & mask, word >> lanes.channel];
        [sums[0] + codes[0] as i32, sums[1] + codes[1] as i32]
    })
}

/// Sums of products of codes: per tap one word of weights and two words of the patch, chunk by chunk.
#[cfg(not(lowbit_armv7m))]
pub(super) fn product(patch: &[u32], weights: &[u32], lanes: Lanes, sums: &mut Sums) {
    if lanes.fills {
        return filled_product(patch, weights, sums);
    }
    *sums = [[0; WIDTH]; CHANNELS];
    let (mut patch, mut weights) = (patch, weights);
    let mut part = [[0; WIDTH]; CHANNELS];
    let mut taps = lanes.first as usize;
    for chunk in 0..lanes.chunks {
        let (Some((these, others)), Some((under, behind))) = (
            weights.split_at_checked(taps),
            patch.split_at_checked(2 * taps),
        ) else {
            return;
        };
        if chunk == 0 {
            chunk_product(under, these, sums);
        } else {
            chunk_product(under, these, &mut part);
            for (sum, part) in sums.as_flattened_mut().iter_mut().zip(part.as_flattened()) {
                *sum = sum.wrapping_add(*part);
            }
        }
        (patch, weights) = (behind, others);
        taps = lanes.chunk as usize;
    }
}

/// The codes of two positions are multiplied at once.
#[cfg(not(any(lowbit_armv7m, lowbit_armv6m, lowbit_riscv32m)))]
fn chunk_product(patch: &[u32], weights: &[u32], sums: &mut Sums) {
    let mut fields = [[0u32; WIDTH / 2]; CHANNELS];
    for (pairs, &word) in patch.as_chunks().0.iter().zip(weights) {
        let weights = [word & 0xffff, word >> 16];
        for (fields, weight) in fields.iter_mut().zip(weights) {
            for (field, &pair) in fields.iter_mut().zip::<&[u32; WIDTH / 2]>(pairs) {
                *field = field.wrapping_add(pair.wrapping_mul(weight));
            }
        }
    }
    *sums = fields.map(|[first, second]| {
        [first & 0xffff, first >> 16, second & 0xffff, second >> 16].map(|sum| sum as i32)
    });
}

/// Sums of products that fill their fields.
#[cfg(not(any(lowbit_armv7m, lowbit_armv6m, lowbit_riscv32m)))]
fn filled_product(patch: &[u32], weights: &[u32], sums: &mut Sums) {
    let mut words = [[0u32; WIDTH / 2]; CHANNELS];
    let mut uppers = [[0u32; WIDTH / 2]; CHANNELS];
    for (pairs, &word) in patch.as_chunks::<{ WIDTH / 2 }>().0.iter().zip(weights) {
        for (channel, weight) in [word & 0xffff, word >> 16].into_iter().enumerate() {
            for (index, &pair) in pairs.iter().enumerate() {
                let product = pair.wrapping_mul(weight);
                words[channel][index] = words[channel][index].wrapping_add(product);
                uppers[channel][index] = uppers[channel][index].wrapping_add(product >> 16);
            }
        }
    }
    for ((sums, words), uppers) in sums.iter_mut().zip(words).zip(uppers) {
        let apart = |index: usize| words[index].wrapping_sub(uppers[index] << 16);
        *sums = [apart(0), uppers[0], apart(1), uppers[1]].map(|sum| sum as i32);
    }
}
