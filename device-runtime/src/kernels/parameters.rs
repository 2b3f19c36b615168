//! Weights and requantization parameters as they lie in the file.

use crate::arithmetic::{Affine, unpack};

/// Element `index` of little-endian numbers of `N` bytes; 0 behind the last.
pub(super) fn element<const N: usize>(bytes: &[u8], index: usize) -> [u8; N] {
    let rest = bytes.get(index.wrapping_mul(N)..);
    rest.and_then(<[u8]>::first_chunk)
        .copied()
        .unwrap_or([0; N])
}

/// Packed weights, one row of codes per output channel.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// Width of a code, 2 to 8.
    pub bits: u8,
    /// Codes per row.
    pub taps: usize,
    /// The rows, each starting on a byte boundary.
    pub codes: &'a [u8],
    /// One `i16` per row.
    pub zero_points: &'a [u8],
}

impl Rows<'_> {
    /// Unpacks the weights `code + zero_point` of a row into the first `taps` elements of `into`;
    /// the others become 0.
    pub(super) fn unpack(&self, row: usize, into: &mut [i16]) {
        let length = self.taps.min(into.len());
        let (taps, padding) = into.split_at_mut(length);
        self.unpack_part(row, 0, taps);
        padding.fill(0);
    }

    /// Unpacks as many weights of a row as `into` holds, from tap `start`, a multiple of 8.
    pub(super) fn unpack_part(&self, row: usize, start: usize, into: &mut [i16]) {
        let bits = usize::from(self.bits);
        let row_bytes = self.taps.wrapping_mul(bits).div_ceil(8);
        let from = row.wrapping_mul(row_bytes).wrapping_add(start / 8 * bits);
        let codes = self.codes.get(from..).unwrap_or_default();
        let zero_point = i16::from_le_bytes(element(self.zero_points, row));
        unpack(self.bits, codes, zero_point, into);
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
}

impl Affines<'_> {
    /// The parameters of a channel.
    #[must_use]
    pub fn get(&self, channel: usize) -> Affine {
        Affine {
            multiplier: i32::from_le_bytes(element(self.multipliers, channel)),
            bias: i64::from_le_bytes(element(self.biases, channel)),
            shift: self.shifts.get(channel).copied().unwrap_or_default(),
        }
    }
}
