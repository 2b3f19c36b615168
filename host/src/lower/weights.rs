//! Float weights to packed codes in the board's order of taps.

use candle_core::Tensor;
use lowbit_runtime::format::{Layout, Weights};

use super::{Blobs, Error};
use crate::dfq::quantizer::{QuantizedWeight, quantize_weight};

/// Zero points beyond this make integer weights that do not fit 16 bits comfortably; such a
/// channel is constant to all intents.
const LARGEST_ZERO_POINT: f32 = 4095.0;
/// A range below this share of its upper end is constant in single precision.
const CONSTANT_RANGE: f32 = 1e-6;

/// Codes of one layer, taps in the board's order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Codes {
    pub(super) bits: u8,
    taps: usize,
    codes: Vec<u8>,
    zero_points: Vec<i16>,
    /// Codes per real unit, one per output channel.
    pub(super) scales: Vec<f64>,
}

/// A weight's taps as the checkpoint has them, `[channel, row, column]`; the board's order is
/// `[row, column, channel]`. Features of an image that was flattened are taps, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taps {
    pub(super) channels: usize,
    /// Rows times columns.
    pub(super) area: usize,
}

impl Taps {
    /// Where the checkpoint has the board's tap number `tap`.
    fn source(self, tap: usize) -> usize {
        tap % self.channels * self.area + tap / self.channels
    }
}

impl Codes {
    /// Quantizes `weight` (`[out, ...]`) to `bits`, within its learned `ranges` if it has any, and
    /// reorders its taps.
    pub(super) fn new(
        node: &str,
        weight: &Tensor,
        bits: u8,
        ranges: Option<&Tensor>,
        order: Taps,
    ) -> Result<Self, Error> {
        let quantized =
            quantize_weight(weight, bits, ranges).map_err(|source| Error::Quantizer {
                node: node.to_owned(),
                source,
            })?;
        let values = weight
            .flatten_all()
            .and_then(|flat| flat.to_vec1::<f32>())
            .map_err(|source| Error::Tensor {
                node: node.to_owned(),
                source,
            })?;
        let rows = quantized.scale.len();
        let taps = values.len() / rows;
        let mut codes = Self {
            bits,
            taps,
            codes: Vec::with_capacity(values.len()),
            zero_points: Vec::with_capacity(rows),
            scales: Vec::with_capacity(rows),
        };
        for row in 0..rows {
            let values = &values[row * taps..][..taps];
            // Within a learned range equal weights have a code like any others.
            let constant = match ranges {
                Some(_) => None,
                None => constant(values, quantized.zero_point[row]),
            };
            codes.push_row(node, &quantized, constant, row, order);
        }
        Ok(codes)
    }

    fn push_row(
        &mut self,
        node: &str,
        quantized: &QuantizedWeight,
        constant: Option<f64>,
        row: usize,
        order: Taps,
    ) {
        if let Some(constant) = constant {
            tracing::info!(
                node,
                row,
                constant,
                "all weights of this output channel are equal"
            );
            self.codes.extend(std::iter::repeat_n(0, self.taps));
            self.zero_points.push(i16::from(constant != 0.0));
            self.scales
                .push(if constant == 0.0 { 1.0 } else { 1.0 / constant });
            return;
        }
        let codes = &quantized.codes[row * self.taps..][..self.taps];
        self.codes
            .extend((0..self.taps).map(|tap| codes[order.source(tap)]));
        self.zero_points.push(quantized.zero_point[row] as i16);
        self.scales.push(f64::from(quantized.scale[row]));
    }

    /// Largest size of an integer weight of each output channel, summed over its taps.
    pub(super) fn row_sums(&self) -> Vec<u64> {
        let rows = self.codes.chunks_exact(self.taps).zip(&self.zero_points);
        rows.map(|(row, &zero_point)| {
            row.iter()
                .map(|&code| (i64::from(code) + i64::from(zero_point)).unsigned_abs())
                .sum()
        })
        .collect()
    }

    /// Puts codes and zero points into the blob section.
    pub(super) fn write(&self, layout: Layout, blobs: &mut Blobs) -> Weights {
        let rows = self.codes.chunks_exact(self.taps).collect::<Vec<_>>();
        let packed = match layout {
            Layout::Rows => rows.iter().flat_map(|row| pack(row, self.bits)).collect(),
            Layout::Pairs => pack_pairs(&rows, self.bits),
        };
        let zero_points = self
            .zero_points
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect::<Vec<_>>();
        Weights {
            bits: self.bits,
            layout,
            codes: blobs.push(&packed),
            zero_points: blobs.push(&zero_points),
        }
    }
}

/// The common value of a channel whose range is too small to be told from a constant: the range
/// ends stand for themselves only with a zero point that 16 bits cannot hold.
fn constant(values: &[f32], zero_point: f32) -> Option<f64> {
    let (low, high) = crate::dfq::quantizer::range(values);
    let degenerate = high - low < CONSTANT_RANGE * high.abs().max(low.abs())
        || zero_point.abs() > LARGEST_ZERO_POINT
        || high == low;
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64;
    degenerate.then_some(mean)
}

/// The codes of two rows at a time, see [`Layout::Pairs`].
fn pack_pairs(rows: &[&[u8]], bits: u8) -> Vec<u8> {
    let per_word = Layout::pairs_per_word(bits) as usize;
    let mut bytes = Vec::new();
    for pair in rows.chunks(2) {
        for start in (0..pair[0].len()).step_by(per_word) {
            let mut word = 0u32;
            for (channel, row) in pair.iter().enumerate() {
                for (index, &code) in row[start..].iter().take(per_word).enumerate() {
                    word |= u32::from(code) << (usize::from(bits) * (2 * index + 1 - channel));
                }
            }
            bytes.extend_from_slice(&word.to_le_bytes());
        }
    }
    bytes
}

/// Codes as a little-endian bit stream of whole bytes.
fn pack(codes: &[u8], bits: u8) -> Vec<u8> {
    let mut bytes = vec![0u8; (codes.len() * usize::from(bits)).div_ceil(8)];
    for (index, &code) in codes.iter().enumerate() {
        let bit = index * usize::from(bits);
        let shifted = u16::from(code) << (bit % 8);
        bytes[bit / 8] |= shifted as u8;
        if let Some(next) = bytes.get_mut(bit / 8 + 1) {
            *next |= (shifted >> 8) as u8;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use lowbit_runtime::arithmetic::unpack;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn codes_are_packed_lowest_bit_first() {
        assert_eq!(pack(&[1, 2, 3], 4), [0x21, 0x03]);
        assert_eq!(pack(&[0b101, 0b011, 0b110], 3), [0b1001_1101, 0b1]);
        assert_eq!(pack(&[200, 17], 8), [200, 17]);
    }

    #[test]
    fn taps_are_reordered_channels_last() {
        let values = (0..12).map(|value| value as f32).collect::<Vec<_>>();
        let weight = Tensor::from_vec(values, (1, 3, 2, 2), &Device::Cpu).unwrap();
        let codes = Codes::new(
            "conv",
            &weight,
            8,
            None,
            Taps {
                channels: 3,
                area: 4,
            },
        )
        .unwrap();
        let scale = codes.scales[0];
        let order = codes
            .codes
            .iter()
            .map(|&code| (f64::from(code) / scale).round() as u32);
        assert_eq!(
            order.collect::<Vec<_>>(),
            [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
        );
    }

    #[test]
    fn constant_channels_are_one_times_their_value() {
        let weight =
            Tensor::new(&[[0.37f32, 0.37], [0.0, 0.0], [-2.0, -2.0]], &Device::Cpu).unwrap();
        let codes = Codes::new(
            "linear",
            &weight,
            4,
            None,
            Taps {
                channels: 2,
                area: 1,
            },
        )
        .unwrap();
        assert_eq!(codes.zero_points, [1, 0, 1]);
        assert_eq!(codes.row_sums(), [2, 0, 2]);
        let value = |row: usize| f64::from(codes.zero_points[row]) / codes.scales[row];
        assert!((value(0) - f64::from(0.37f32)).abs() < 1e-9 && value(2) == -2.0);
    }

    proptest! {
        #[test]
        fn the_board_unpacks_what_was_packed(
            bits in 2u8..=8,
            bytes in prop::collection::vec(any::<u8>(), 1..100),
            zero_point in -4095i16..4095,
        ) {
            let codes = bytes.iter().map(|byte| byte >> (8 - bits)).collect::<Vec<_>>();
            let packed = pack(&codes, bits);
            prop_assert_eq!(packed.len(), (codes.len() * usize::from(bits)).div_ceil(8));
            let mut unpacked = vec![0; codes.len()];
            unpack(bits, &packed, zero_point, &mut unpacked);
            let expected = codes.iter().map(|&code| i16::from(code) + zero_point);
            prop_assert_eq!(unpacked, expected.collect::<Vec<_>>());
        }
    }
}
