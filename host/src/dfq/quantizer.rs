//! Asymmetric linear quantizers: one per output channel for weights, one per tensor for activations.
//!
//! With `k` bits, `n = 2^k - 1` and a range `[min, max]`:
//!
//! ```text
//! scale      s = n / max(max - min, 1e-8)          codes per real unit
//! zero point z = round(s * min)
//! code       u = clamp(round(s * x - z), 0, n)
//! value      x' = (u + z) / s
//! ```
//!
//! `round` takes ties to the even neighbour. All arithmetic is `f32`, operation by operation as in
//! the method's published implementation, which works with the signed code `u - 2^(k-1)` and the
//! zero point `z + 2^(k-1)`: the offset changes which bits the difference `s * x - z` loses, so it
//! is applied here as well, and taken off again from what callers see.

use candle_core::Tensor;
use rayon::prelude::*;

use super::{Error, Result};
use crate::graph::ActivationRange;

/// Smallest range that is told from a constant.
pub(super) const SMALLEST_RANGE: f32 = 1e-8;

/// Values handed to one thread at a time.
const CHUNK: usize = 1 << 14;

/// A quantizer of one range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearQuantizer {
    /// Width of the codes, 2 to 8.
    pub bits: u8,
    /// Codes per real unit.
    pub scale: f32,
    /// An integer; a code `u` stands for `(u + zero_point) / scale`.
    pub zero_point: f32,
}

/// The quantizer behind a node, one range for the whole tensor.
pub type ActivationQuantizer = LinearQuantizer;

impl LinearQuantizer {
    /// The quantizer of a frozen range.
    ///
    /// # Errors
    /// [`Error::Bits`] for a width other than 2 to 8, [`Error::Range`] if the ends are not finite
    /// or in the wrong order.
    pub fn new(range: &ActivationRange) -> Result<Self> {
        let ActivationRange { bits, min, max } = *range;
        check_bits(bits)?;
        if !(min.is_finite() && max.is_finite() && min <= max) {
            return Err(Error::Range { min, max });
        }
        Ok(Self::of_range(bits, min, max))
    }

    fn of_range(bits: u8, min: f32, max: f32) -> Self {
        // The published code divides a number by a tensor, which is a product with the reciprocal.
        let scale = (max - min).max(SMALLEST_RANGE).recip() * highest_code(bits);
        Self {
            bits,
            scale,
            zero_point: (scale * min).round_ties_even(),
        }
    }

    /// `2^bits - 1`.
    #[must_use]
    pub fn highest_code(&self) -> f32 {
        highest_code(self.bits)
    }

    /// The code of `value`, 0 to `2^bits - 1`.
    #[must_use]
    pub fn code(&self, value: f32) -> u8 {
        let half = half_codes(self.bits);
        let signed = round_code(self.scale * value - (self.zero_point + half), half);
        (signed + half) as u8
    }

    /// The real value that `code` stands for.
    #[must_use]
    pub fn value(&self, code: u8) -> f32 {
        let half = half_codes(self.bits);
        ((f32::from(code) - half) + (self.zero_point + half)) / self.scale
    }

    /// Codes of all `values`.
    #[must_use]
    pub fn codes(&self, values: &[f32]) -> Vec<u8> {
        values.iter().map(|&value| self.code(value)).collect()
    }

    /// What the codes of `values` stand for. A NaN stays one.
    #[must_use]
    pub fn fake_quantized(&self, values: &[f32]) -> Vec<f32> {
        let mut quantized = vec![0.0; values.len()];
        quantized
            .par_chunks_mut(CHUNK)
            .zip(values.par_chunks(CHUNK))
            .for_each(|(quantized, values)| self.fake_quantize_into(quantized, values));
        quantized
    }

    fn fake_quantize_into(&self, quantized: &mut [f32], values: &[f32]) {
        let half = half_codes(self.bits);
        let zero_point = self.zero_point + half;
        for (quantized, value) in quantized.iter_mut().zip(values) {
            let code = round_code(self.scale * value - zero_point, half);
            *quantized = (code + zero_point) / self.scale;
        }
    }
}

/// A weight as integers.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedWeight {
    /// Width of the codes, 2 to 8.
    pub bits: u8,
    /// Codes from 0 to `2^bits - 1` in the order of the weight; the integer value of a code is
    /// `code + zero_point` of its output channel, its real value that divided by `scale`.
    pub codes: Vec<u8>,
    /// Codes per real unit, one per output channel.
    pub scale: Vec<f32>,
    /// An integer per output channel.
    pub zero_point: Vec<f32>,
}

/// Quantizes `weight`, `[out, ...]` in `f32`, with a range per output channel: that of its values,
/// or its row of `ranges`, `[out, 2]` with minimum and maximum, which 0 has to lie between.
///
/// # Errors
/// [`Error::Bits`] for a width other than 2 to 8, [`Error::WeightNotFinite`] for a NaN or an
/// infinity in the weight, [`Error::WeightRange`] or [`Error::Tensor`] for impossible `ranges`.
pub fn quantize_weight(
    weight: &Tensor,
    bits: u8,
    ranges: Option<&Tensor>,
) -> Result<QuantizedWeight> {
    check_bits(bits)?;
    let ranges = WeightRanges::new(weight, ranges)?;
    let values = weight.flatten_all()?.to_vec1::<f32>()?;
    let mut quantized = QuantizedWeight {
        bits,
        codes: Vec::with_capacity(values.len()),
        scale: Vec::new(),
        zero_point: Vec::new(),
    };
    for (channel, values) in values.chunks(channel_size(weight)?).enumerate() {
        if !values.iter().all(|value| value.is_finite()) {
            return Err(Error::WeightNotFinite {
                channel,
                shape: weight.dims().to_vec(),
            });
        }
        let quantizer = ranges.quantizer(bits, channel, values);
        quantized.codes.extend(quantizer.codes(values));
        quantized.scale.push(quantizer.scale);
        quantized.zero_point.push(quantizer.zero_point);
    }
    Ok(quantized)
}

/// The weight that the codes of [`quantize_weight`] stand for, of the same shape. A NaN stays one.
///
/// # Errors
/// [`Error::Bits`] for a width other than 2 to 8, [`Error::WeightRange`] or [`Error::Tensor`] for
/// impossible `ranges`.
pub fn fake_quantize_weight(weight: &Tensor, bits: u8, ranges: Option<&Tensor>) -> Result<Tensor> {
    check_bits(bits)?;
    let ranges = WeightRanges::new(weight, ranges)?;
    let values = weight.flatten_all()?.to_vec1::<f32>()?;
    let size = channel_size(weight)?;
    let mut quantized = vec![0.0; values.len()];
    quantized
        .par_chunks_mut(size)
        .zip(values.par_chunks(size))
        .enumerate()
        .with_min_len(CHUNK.div_ceil(size))
        .for_each(|(channel, (quantized, values))| {
            let quantizer = ranges.quantizer(bits, channel, values);
            quantizer.fake_quantize_into(quantized, values);
        });
    Ok(Tensor::from_vec(
        quantized,
        weight.shape(),
        weight.device(),
    )?)
}

/// Least and greatest value of a tensor, found in parallel; see [`range`].
#[must_use]
pub fn parallel_range(values: &[f32]) -> (f32, f32) {
    let nothing = || (f32::INFINITY, f32::NEG_INFINITY);
    values
        .par_chunks(CHUNK)
        .map(range)
        .reduce(nothing, |a, b| (smaller(a.0, b.0), larger(a.1, b.1)))
}

/// Ranges of a weight's output channels.
enum WeightRanges {
    /// Those of the values.
    OfValues,
    /// Minimum and maximum, one after the other.
    Given(Vec<f32>),
}

impl WeightRanges {
    fn new(weight: &Tensor, ranges: Option<&Tensor>) -> Result<Self> {
        let Some(ranges) = ranges else {
            return Ok(Self::OfValues);
        };
        let rows = ranges.reshape((weight.dim(0)?, 2))?;
        let ends = rows.flatten_all()?.to_vec1::<f32>()?;
        for (channel, &[min, max]) in ends.as_chunks().0.iter().enumerate() {
            if !(min <= 0.0 && 0.0 <= max && (max - min).is_finite()) {
                return Err(Error::WeightRange { channel, min, max });
            }
        }
        Ok(Self::Given(ends))
    }

    fn quantizer(&self, bits: u8, channel: usize, values: &[f32]) -> LinearQuantizer {
        let (min, max) = match self {
            Self::OfValues => range(values),
            Self::Given(ends) => (ends[2 * channel], ends[2 * channel + 1]),
        };
        LinearQuantizer::of_range(bits, min, max)
    }
}

/// Least and greatest of `values`, NaN left out; infinities the wrong way round if there are none.
#[must_use]
pub fn range(values: &[f32]) -> (f32, f32) {
    const LANES: usize = 16;
    let mut least = [f32::INFINITY; LANES];
    let mut greatest = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            least[lane] = smaller(block[lane], least[lane]);
            greatest[lane] = larger(block[lane], greatest[lane]);
        }
    }
    let fold = |start: f32, values: &[f32], choose: fn(f32, f32) -> f32| {
        values.iter().fold(start, |chosen, &v| choose(v, chosen))
    };
    (
        fold(fold(f32::INFINITY, rest, smaller), &least, smaller),
        fold(fold(f32::NEG_INFINITY, rest, larger), &greatest, larger),
    )
}

/// `f32::min` in the form that is one machine instruction; a NaN in `a` gives `b`.
fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

pub(super) fn check_bits(bits: u8) -> Result<()> {
    if (2..=8).contains(&bits) {
        Ok(())
    } else {
        Err(Error::Bits(bits))
    }
}

fn channel_size(weight: &Tensor) -> Result<usize> {
    let channels = weight.dim(0)?;
    Ok((weight.elem_count() / channels.max(1)).max(1))
}

pub(super) fn highest_code(bits: u8) -> f32 {
    ((1_u16 << bits) - 1).into()
}

/// `2^(bits - 1)`: what a signed code differs from the unsigned one.
pub(super) fn half_codes(bits: u8) -> f32 {
    (1_u16 << (bits - 1)).into()
}

/// Nearest signed code, ties to even.
///
/// Adding 1.5 * 2^23 leaves no bits for a fraction, so that the sum itself rounds to even; this
/// needs no rounding instruction, which the x86-64 baseline lacks. The clamp comes first as its
/// ends are integers, which makes the order immaterial, and keeps the sum in range.
#[inline(always)]
fn round_code(value: f32, half: f32) -> f32 {
    const NO_FRACTION: f32 = 12_582_912.0;
    (value.clamp(-half, half - 1.0) + NO_FRACTION) - NO_FRACTION
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use proptest::prelude::*;

    use super::*;
    use crate::dfq::golden::{Golden, assert_close, flat};

    const WIDTHS: [u8; 6] = [2, 3, 4, 5, 6, 8];

    /// Codes and value counts per channel with the constant channels 3 and 4 left out, as
    /// only their dequantized value has a meaning.
    fn without_constant_channels<T: Clone>(values: &[T], channels: usize) -> Vec<T> {
        let size = values.len() / channels;
        values
            .chunks(size)
            .enumerate()
            .filter(|(channel, _)| ![3, 4].contains(channel))
            .flat_map(|(_, values)| values.to_vec())
            .collect()
    }

    fn unsigned(codes: &[i32], bits: u8) -> Vec<u8> {
        let half = 1 << (bits - 1);
        codes
            .iter()
            .map(|&code| u8::try_from(code + half).expect("a code"))
            .collect()
    }

    fn unsigned_zero_point(signed: &[f32], bits: u8) -> Vec<f32> {
        signed.iter().map(|z| z - half_codes(bits)).collect()
    }

    #[test]
    fn weights_match_golden() {
        let Some(golden) = Golden::open("weight_quant") else {
            return;
        };
        for case in ["conv3", "conv1", "linear", "edge_linear", "edge_conv"] {
            let weight = golden.tensor(&format!("{case}.w"));
            for bits in WIDTHS {
                let key = |part: &str| format!("{case}.b{bits}.{part}");
                let got = quantize_weight(&weight, bits, None).unwrap();
                assert_eq!(got.scale, golden.f32(&key("scale")), "{}", key("scale"));
                let mut codes = got.codes.clone();
                let mut expected = unsigned(&golden.i32(&key("codes")), bits);
                if case.starts_with("edge") {
                    codes = without_constant_channels(&codes, 10);
                    expected = without_constant_channels(&expected, 10);
                } else {
                    let zero_point = unsigned_zero_point(&golden.f32(&key("zero_point")), bits);
                    assert_eq!(got.zero_point, zero_point, "{}", key("zero_point"));
                }
                assert_eq!(codes, expected, "{}", key("codes"));
                let dequantized = fake_quantize_weight(&weight, bits, None).unwrap();
                assert_eq!(dequantized.dims(), weight.dims());
                let dequantized = flat(&dequantized);
                assert_close(
                    &key("deq"),
                    &dequantized,
                    &golden.f32(&key("deq")),
                    1e-7,
                    1e-6,
                );
            }
        }
    }

    #[test]
    fn ties_go_to_even_as_in_golden() {
        let Some(golden) = Golden::open("weight_quant") else {
            return;
        };
        for bits in WIDTHS {
            let key = |part: &str| format!("tie.b{bits}.{part}");
            let weight = golden.tensor(&key("w"));
            let got = quantize_weight(&weight, bits, None).unwrap();
            let zero_point = unsigned_zero_point(&golden.f32(&key("zero_point")), bits);
            assert_eq!(got.scale, [1.0, 1.0]);
            assert_eq!(got.zero_point, zero_point);
            assert_eq!(got.codes, unsigned(&golden.i32(&key("codes")), bits));
            let dequantized = fake_quantize_weight(&weight, bits, None).unwrap();
            let dequantized = flat(&dequantized);
            assert_eq!(dequantized, golden.f32(&key("deq")));
        }
    }

    #[test]
    fn activations_match_golden() {
        let Some(golden) = Golden::open("act_quant") else {
            return;
        };
        for case in ["relu", "signed", "positive"] {
            for bits in WIDTHS {
                let key = |part: &str| format!("{case}.b{bits}.{part}");
                let quantizer = LinearQuantizer::new(&ActivationRange {
                    bits,
                    min: golden.f32(&format!("{case}.x_min"))[0],
                    max: golden.f32(&format!("{case}.x_max"))[0],
                })
                .unwrap();
                let zero_point = unsigned_zero_point(&golden.f32(&key("zero_point")), bits);
                assert_eq!([quantizer.scale], golden.f32(&key("scale"))[..]);
                assert_eq!([quantizer.zero_point], zero_point[..]);
                let values = golden.f32(&format!("{case}.x"));
                let codes = quantizer.codes(&values);
                assert_eq!(
                    codes,
                    unsigned(&golden.i32(&key("codes")), bits),
                    "{}",
                    key("codes")
                );
                let quantized = quantizer.fake_quantized(&values);
                assert_close(&key("deq"), &quantized, &golden.f32(&key("deq")), 0.0, 1e-6);
                let looked_up: Vec<f32> = codes.iter().map(|&code| quantizer.value(code)).collect();
                assert_eq!(looked_up, quantized);
            }
        }
    }

    #[test]
    fn refuses_impossible_input() {
        let weight = Tensor::new(&[[1.0_f32, 2.0], [f32::NAN, 0.0]], &Device::Cpu).unwrap();
        assert!(matches!(
            quantize_weight(&weight, 1, None),
            Err(Error::Bits(1))
        ));
        assert!(matches!(
            fake_quantize_weight(&weight, 9, None),
            Err(Error::Bits(9))
        ));
        let error = quantize_weight(&weight, 4, None).unwrap_err();
        assert!(
            matches!(error, Error::WeightNotFinite { channel: 1, .. }),
            "{error}"
        );
        for wrong in [
            [1.0, 0.0],
            [0.0, f32::INFINITY],
            [f32::NAN, 1.0],
            [0.5, 1.0],
        ] {
            let ranges = Tensor::new(&[[0_f32, 1.0], wrong], &Device::Cpu).unwrap();
            let error = fake_quantize_weight(&weight, 4, Some(&ranges)).unwrap_err();
            assert!(
                matches!(error, Error::WeightRange { channel: 1, .. }),
                "{error}"
            );
        }
        let range = |min, max| LinearQuantizer::new(&ActivationRange { bits: 4, min, max });
        assert!(matches!(range(1.0, 0.0), Err(Error::Range { .. })));
        assert!(matches!(range(0.0, f32::NAN), Err(Error::Range { .. })));
    }

    #[test]
    fn weights_keep_to_given_ranges() {
        let weight = Tensor::new(&[[-0.9_f32, 0.1, 0.24], [0.0, 0.6, 9.0]], &Device::Cpu).unwrap();
        let ranges = Tensor::new(&[[-0.5_f32, 0.25], [0.0, 1.5]], &Device::Cpu).unwrap();
        let quantized = quantize_weight(&weight, 2, Some(&ranges)).unwrap();
        assert_eq!(quantized.scale, [4.0, 2.0]);
        assert_eq!(quantized.zero_point, [-2.0, 0.0]);
        assert_eq!(quantized.codes, [0, 2, 3, 0, 1, 3]);
        let values = fake_quantize_weight(&weight, 2, Some(&ranges)).unwrap();
        assert_eq!(flat(&values), [-0.5, 0.0, 0.25, 0.0, 0.5, 1.5]);
    }

    proptest! {
        #[test]
        fn codes_round_to_even(
            value in -40.0_f32..40.0,
            tie in -80_i16..80,
            bits in 2_u8..=8,
        ) {
            let quantizer = LinearQuantizer { bits, scale: 1.0, zero_point: -3.0 };
            for value in [value, f32::from(tie) / 2.0] {
                let half = half_codes(bits);
                let signed = (value - (half - 3.0)).round_ties_even().clamp(-half, half - 1.0);
                prop_assert_eq!(f32::from(quantizer.code(value)), signed + half);
            }
        }

        #[test]
        fn range_is_least_and_greatest(values in prop::collection::vec(-1e3_f32..1e3, 1..70)) {
            let least = values.iter().copied().fold(f32::INFINITY, f32::min);
            let greatest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            prop_assert_eq!(range(&values), (least, greatest));
        }
    }
}
