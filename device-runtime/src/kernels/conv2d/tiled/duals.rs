//! Operands as values of 16 bits, two taps per word.
//!
//! ```text
//!   patch:    per two taps | position 0 | position 1 |
//!   weights:  per two taps | channel 0  | channel 1  |
//! ```
//! Each row of the kernel is filled up to whole words. Where [`in_quads`] says so, two words hold the
//! first and third, and the second and fourth of four taps.

use super::{CHANNELS, Source};
#[cfg(not(lowbit_cortex_m_dsp))]
use super::{Sums, WIDTH};
#[cfg(any(lowbit_cortex_m_dsp, not(lowbit_armv7m)))]
use crate::format::Layout;
use crate::kernels::elements::Elements;
use crate::kernels::parameters::Rows;

#[cfg(lowbit_cortex_m_dsp)]
pub(super) use crate::kernels::cortex_m_dsp::duals_product as product;

/// Packs row `y` of the input, `None` outside the image, as the positions `x` and `x + 1` see it.
pub(super) fn pack_row(source: &Source<'_>, y: Option<usize>, x: usize, into: &mut [u32]) {
    let geometry = source.geometry;
    let taps = usize::from(geometry.kernel_width) * source.input.channels;
    let Some(y) = y else {
        into.fill(0);
        return;
    };
    for position in 0..2 {
        let column = (x + position) * usize::from(geometry.stride_x);
        let window = Window::new(source, y, column, taps);
        #[cfg(lowbit_cortex_m_dsp)]
        if in_quads(source) {
            window.pack_quads(&source.input.elements, into, position);
            continue;
        }
        let into: &mut [[i16; 4]] = bytemuck::must_cast_slice_mut(into.as_chunks_mut::<2>().0);
        window.pack(&source.input.elements, into, position);
    }
}

/// Whether taps are paired four at a time: the core does so with codes whose rows are whole quads.
#[cfg(lowbit_cortex_m_dsp)]
fn in_quads(source: &Source<'_>) -> bool {
    source.input.channels.is_multiple_of(4)
        && source.weights.layout == Layout::Rows
        && matches!(source.input.elements, Elements::Code8 { .. })
}

/// One row of a patch: taps before, within and behind the image.
struct Window {
    /// Taps in the padding left of the image.
    before: usize,
    /// Taps within the image.
    within: usize,
    /// All taps.
    taps: usize,
    /// Element of the first tap within the image.
    from: usize,
}

impl Window {
    /// `column` counts from the first column of padding.
    fn new(source: &Source<'_>, y: usize, column: usize, taps: usize) -> Self {
        let (width, channels) = (source.input.width, source.input.channels);
        let padding = usize::from(source.geometry.pad_left);
        let before = (padding.saturating_sub(column) * channels).min(taps);
        let x = column.saturating_sub(padding);
        let within = (width.saturating_sub(x) * channels).min(taps - before);
        Self {
            before,
            within,
            taps,
            from: source.input.pixel(y, x),
        }
    }

    fn pack(&self, elements: &Elements<'_>, into: &mut [[i16; 4]], position: usize) {
        let even = self.before.is_multiple_of(2);
        match elements {
            Elements::Code8 { codes, zero_point } if even => {
                let codes = codes.get(self.from..).unwrap_or_default();
                let codes = codes.get(..self.within).unwrap_or_default();
                let zero_point = *zero_point as i16;
                let value = |code: u8| zero_point.wrapping_add(code.into());
                let (pairs, last) = codes.as_chunks::<2>();
                let last = last.first().map(|&code| [value(code), 0]);
                let within = pairs.iter().map(|codes| codes.map(value)).chain(last);
                self.write(into, position, within);
            }
            Elements::Value16(values) if even => {
                let values = values.get(self.from..).unwrap_or_default();
                let values = values.get(..self.within).unwrap_or_default();
                let (pairs, last) = values.as_chunks::<2>();
                let last = last.first().map(|&value| [value, 0]);
                self.write(into, position, pairs.iter().copied().chain(last));
            }
            _ => self.write_singly(elements, into, position),
        }
    }

    #[cfg(lowbit_cortex_m_dsp)]
    fn pack_quads(&self, elements: &Elements<'_>, into: &mut [u32], position: usize) {
        use crate::kernels::cortex_m_dsp::quads_pack;
        let Elements::Code8 { codes, zero_point } = elements else {
            return;
        };
        let codes = codes.get(self.from..).unwrap_or_default();
        let codes = codes.get(..self.within).unwrap_or_default();
        let (before, rest) = into.split_at_mut(self.before.min(into.len()));
        let (middle, behind) = rest.split_at_mut(self.within.min(rest.len()));
        for part in [before, behind] {
            for word in part.iter_mut().skip(position).step_by(2) {
                *word = 0;
            }
        }
        let middle = middle.get_mut(position..).unwrap_or_default();
        quads_pack(codes, *zero_point as i16, middle);
    }

    /// `within` are the taps within the image, two at a time.
    #[inline(always)]
    fn write(
        &self,
        into: &mut [[i16; 4]],
        position: usize,
        within: impl Iterator<Item = [i16; 2]>,
    ) {
        let (before, rest) = into.split_at_mut((self.before / 2).min(into.len()));
        let (middle, behind) = rest.split_at_mut(self.within.div_ceil(2).min(rest.len()));
        for words in before.iter_mut().chain(behind) {
            place(words, [0; 2], position);
        }
        for (words, pair) in middle.iter_mut().zip(within) {
            place(words, pair, position);
        }
    }

    fn write_singly(&self, elements: &Elements<'_>, into: &mut [[i16; 4]], position: usize) {
        let halves = into.iter_mut().flat_map(|words| {
            let (first, second) = words.split_at_mut(2);
            if position == 0 { first } else { second }
        });
        for (tap, half) in halves.enumerate() {
            let within = tap
                .checked_sub(self.before)
                .filter(|&tap| tap < self.within);
            let within = within.filter(|_| tap < self.taps);
            *half = within.map_or(0, |tap| elements.get(self.from + tap) as i16);
        }
    }
}

/// Unpacks the weights of the channels from `channel` on.
pub(super) fn unpack(source: &Source<'_>, channel: usize, into: &mut [u32]) {
    let rows = &source.weights;
    let kernel = usize::from(source.geometry.kernel_height).max(1);
    #[cfg(lowbit_cortex_m_dsp)]
    if in_quads(source) {
        unpack_quads(rows, channel, into);
        return;
    }
    let into: &mut [[i16; 4]] = bytemuck::must_cast_slice_mut(into.as_chunks_mut::<2>().0);
    let row_taps = rows.taps.checked_div(kernel).unwrap_or_default();
    let row_pairs = row_taps.div_ceil(2).max(1);
    for words in into.iter_mut().skip(row_pairs * kernel) {
        *words = [0; 4];
    }
    #[cfg(not(lowbit_armv7m))]
    if row_taps.is_multiple_of(2) && rows.layout == Layout::Rows {
        let (taps, _) = into.split_at_mut((rows.taps / 2).min(into.len()));
        let pairs = |[a, b, c, d, e, f, g, h]: [i16; 8]| [[a, b], [c, d], [e, f], [g, h]];
        for half in 0..CHANNELS {
            unpack_whole(rows, channel + half, taps, half, pairs);
        }
        return;
    }
    for (row, into) in into.chunks_exact_mut(row_pairs).take(kernel).enumerate() {
        for half in 0..CHANNELS {
            unpack_row(rows, channel + half, row * row_taps, row_taps, into, half);
        }
    }
}

/// All rows of the kernel are whole quads.
#[cfg(lowbit_cortex_m_dsp)]
fn unpack_quads(rows: &Rows<'_>, channel: usize, into: &mut [u32]) {
    let (into, _) = into.split_at_mut(rows.taps.min(into.len()));
    if rows.bits == 8 {
        use crate::kernels::cortex_m_dsp::quads_unpack;
        let codes = |channel: usize| rows.codes.get(channel * rows.taps..)?.get(..rows.taps);
        let first = codes(channel).unwrap_or_default();
        // The channel that an odd number lacks has the weights of the last.
        let second = codes(channel + 1).unwrap_or(first);
        let zero_points = [channel, channel + 1].map(|channel| rows.zero_point(channel));
        quads_unpack([first, second], zero_points, into);
        return;
    }
    let into: &mut [[i16; 4]] = bytemuck::must_cast_slice_mut(into.as_chunks_mut::<2>().0);
    let quads = |[a, b, c, d, e, f, g, h]: [i16; 8]| [[a, c], [b, d], [e, g], [f, h]];
    for half in 0..CHANNELS {
        unpack_whole(rows, channel + half, into, half, quads);
    }
}

/// Rows of the kernel that need no filling up follow each other like a single one. `order` pairs eight
/// taps.
#[cfg(any(lowbit_cortex_m_dsp, not(lowbit_armv7m)))]
#[inline(always)]
fn unpack_whole(
    rows: &Rows<'_>,
    channel: usize,
    into: &mut [[i16; 4]],
    half: usize,
    order: impl Fn([i16; 8]) -> [[i16; 2]; 4],
) {
    let mut into = into.chunks_mut(4);
    rows.unpack_groups(channel, |taps| {
        let pairs = order(taps);
        for (words, pair) in into.next().unwrap_or_default().iter_mut().zip(pairs) {
            place(words, pair, half);
        }
    });
}

/// Writes two taps of one of both channels or positions.
#[inline(always)]
fn place(words: &mut [i16; 4], pair: [i16; 2], half: usize) {
    if half == 0 {
        [words[0], words[1]] = pair;
    } else {
        [words[2], words[3]] = pair;
    }
}

/// Taps that are unpacked at a time.
const CHUNK: usize = 16;

fn unpack_row(
    rows: &Rows<'_>,
    channel: usize,
    first: usize,
    taps: usize,
    into: &mut [[i16; 4]],
    half: usize,
) {
    let mut start = 0;
    // Codes can be unpacked from every eighth tap on.
    let ahead = first % 8;
    for into in into.chunks_mut(CHUNK / 2) {
        let mut values = [0i16; CHUNK + 8];
        let count = CHUNK.min(taps - start.min(taps));
        let from = first + start - ahead;
        rows.unpack_part(
            channel,
            from,
            values.get_mut(..ahead + count).unwrap_or_default(),
        );
        let values = values.get(ahead..).unwrap_or_default().iter();
        let pairs = values.as_slice().as_chunks::<2>().0;
        for (words, pair) in into.iter_mut().zip(pairs) {
            place(words, *pair, half);
        }
        start += CHUNK;
    }
}

/// Sums of products: `patches` are those of the first and the second two positions.
#[cfg(not(lowbit_cortex_m_dsp))]
pub(super) fn product(patches: [&[u32]; 2], weights: &[u32], sums: &mut Sums) {
    *sums = [[0; WIDTH]; CHANNELS];
    let weights: &[[i16; 4]] = bytemuck::must_cast_slice(weights.as_chunks::<2>().0);
    for (pair, patch) in patches.into_iter().enumerate() {
        let patch: &[[i16; 4]] = bytemuck::must_cast_slice(patch.as_chunks::<2>().0);
        for (patch, weights) in patch.iter().zip(weights) {
            for (channel, sums) in sums.iter_mut().enumerate() {
                for position in 0..2 {
                    for tap in 0..2 {
                        let weight = i32::from(weights[2 * channel + tap]);
                        let value = i32::from(patch[2 * position + tap]);
                        let sum = &mut sums[2 * pair + position];
                        *sum = sum.wrapping_add(weight.wrapping_mul(value));
                    }
                }
            }
        }
    }
}
