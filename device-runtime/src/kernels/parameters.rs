//! Weights and requantization parameters as they lie in the file.

use crate::arithmetic::{Affine, unpack, unpack_groups};
use crate::calibration::Layer;
use crate::format::Layout;

/// Element `index` of little-endian numbers of `N` bytes; 0 behind the last.
pub(super) fn element<const N: usize>(bytes: &[u8], index: usize) -> [u8; N] {
    let rest = bytes.get(index.wrapping_mul(N)..);
    rest.and_then(<[u8]>::first_chunk)
        .copied()
        .unwrap_or([0; N])
}

/// Packed weights, per output channel one row of codes.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// Width of a code, 2 to 8.
    pub bits: u8,
    /// Order of the codes.
    pub layout: Layout,
    /// Codes per row.
    pub taps: usize,
    /// The codes.
    pub codes: &'a [u8],
    /// One `i16` per row.
    pub zero_points: &'a [u8],
}

impl Rows<'_> {
    /// Unpacks the weights `code + zero_point` of a row into the first `taps` elements of `into`;
    /// the others become 0.
    pub(crate) fn unpack(&self, row: usize, into: &mut [i16]) {
        let length = self.taps.min(into.len());
        let (taps, padding) = into.split_at_mut(length);
        self.unpack_part(row, 0, taps);
        padding.fill(0);
    }

    /// Unpacks as many weights of a row as `into` holds, from tap `start`, a multiple of 8.
    pub(super) fn unpack_part(&self, row: usize, start: usize, into: &mut [i16]) {
        self.unpack_plus(self.zero_point(row), row, start, into);
    }

    /// The same without the zero point.
    pub(super) fn unpack_codes(&self, row: usize, start: usize, into: &mut [i16]) {
        self.unpack_plus(0, row, start, into);
    }

    fn unpack_plus(&self, zero_point: i16, row: usize, start: usize, into: &mut [i16]) {
        if self.layout == Layout::Pairs {
            for (tap, weight) in (start..).zip(into) {
                *weight = zero_point.wrapping_add(self.paired_code(row, tap));
            }
            return;
        }
        let bits = usize::from(self.bits);
        let row_bytes = self.taps.wrapping_mul(bits).div_ceil(8);
        let from = row.wrapping_mul(row_bytes).wrapping_add(start / 8 * bits);
        let codes = self.codes.get(from..).unwrap_or_default();
        unpack(self.bits, codes, zero_point, into);
    }

    /// All weights of a row in [`Layout::Rows`], eight at a time; what the last group has behind the
    /// last weight means nothing.
    #[inline(always)]
    pub(super) fn unpack_groups(&self, row: usize, take: impl FnMut([i16; 8])) {
        let row_bytes = self.taps.wrapping_mul(self.bits.into()).div_ceil(8);
        let codes = self.codes.get(row.wrapping_mul(row_bytes)..);
        let codes = codes
            .and_then(|codes| codes.get(..row_bytes))
            .unwrap_or_default();
        unpack_groups(self.bits, codes, self.zero_point(row), self.taps, take);
    }

    /// Added to the codes of a row.
    pub(super) fn zero_point(&self, row: usize) -> i16 {
        i16::from_le_bytes(element(self.zero_points, row))
    }

    /// The words of a pair of rows in [`Layout::Pairs`].
    pub(super) fn pair_words(&self, pair: usize) -> &[[u8; 4]] {
        let count = self.words_per_pair();
        let words = self.codes.as_chunks().0.get(pair.wrapping_mul(count)..);
        words
            .and_then(|words| words.get(..count))
            .unwrap_or_default()
    }

    fn words_per_pair(&self) -> usize {
        let per_word = Layout::pairs_per_word(self.bits) as usize;
        self.taps.checked_div(per_word).map_or(0, |whole| {
            whole + usize::from(whole.wrapping_mul(per_word) < self.taps)
        })
    }

    /// A code of [`Layout::Pairs`].
    fn paired_code(&self, row: usize, tap: usize) -> i16 {
        let per_word = (Layout::pairs_per_word(self.bits) as usize).max(1);
        let index = (row / 2)
            .wrapping_mul(self.words_per_pair())
            .wrapping_add(tap / per_word);
        let word = u32::from_le_bytes(element(self.codes, index));
        let slot = 2 * (tap % per_word) + (1 - row % 2);
        let code = word.wrapping_shr(slot as u32 * u32::from(self.bits));
        (code & ((1 << self.bits.min(8)) - 1)) as i16
    }
}

/// One [`Affine`] per output channel.
#[derive(Debug, Clone, Copy)]
pub struct Affines<'a> {
    /// One `i32` per channel.
    pub multipliers: &'a [u8],
    /// One `i64` per channel.
    pub biases: &'a [u8],
    /// One `u8` per channel.
    pub shifts: &'a [u8],
    /// Multipliers and biases that replace those, as in a [`Layer`] of a
    /// record; empty where nothing does.
    pub corrections: &'a [u8],
}

impl Affines<'_> {
    /// The parameters of a channel.
    #[must_use]
    pub fn get(&self, channel: usize) -> Affine {
        let shift = self.shifts.get(channel).copied().unwrap_or_default();
        let corrected = match self.corrections {
            [] => None,
            parameters => Layer {
                operation: 0,
                parameters,
            }
            .get(channel),
        };
        if let Some((multiplier, bias)) = corrected {
            return Affine {
                multiplier,
                bias,
                shift,
            };
        }
        Affine {
            multiplier: i32::from_le_bytes(element(self.multipliers, channel)),
            bias: i64::from_le_bytes(element(self.biases, channel)),
            shift,
        }
    }
}
