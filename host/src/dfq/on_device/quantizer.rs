//! Asymmetric linear quantizers, operation by operation as on slices.

use candle_core::Tensor;

use crate::dfq::{
    Result,
    quantizer::{SMALLEST_RANGE, check_bits, half_codes, highest_code},
};

/// Leaves no bits for a fraction when added to a small number, so that the sum rounds to even.
const NO_FRACTION: f64 = 12_582_912.0;

/// Quantizers of one width. Scale and zero point broadcast against what they quantize.
#[derive(Debug, Clone)]
pub(super) struct TensorQuantizer {
    bits: u8,
    /// Codes per real unit.
    scale: Tensor,
    /// Of the signed codes: that of the unsigned ones plus `2^(bits - 1)`.
    zero_point: Tensor,
}

impl TensorQuantizer {
    pub(super) fn new(bits: u8, scale: Tensor, zero_point: Tensor) -> Self {
        Self {
            bits,
            scale,
            zero_point,
        }
    }

    /// Quantizers of the ranges between `min` and `max`. A zero point beyond 2^22, of a range next
    /// to nothing, is rounded to a multiple of more than 1; relative to it that is nothing.
    pub(super) fn of_range(bits: u8, min: &Tensor, max: &Tensor) -> Result<Self> {
        check_bits(bits)?;
        let width = (max - min)?.maximum(f64::from(SMALLEST_RANGE))?;
        let scale = width.recip()?.affine(highest_code(bits).into(), 0.0)?;
        let zero_point = (&scale * min)?.affine(1.0, NO_FRACTION)?;
        let zero_point = zero_point
            .affine(1.0, -NO_FRACTION)?
            .affine(1.0, half_codes(bits).into())?;
        Ok(Self::new(bits, scale, zero_point))
    }

    /// What the codes of `values` stand for.
    ///
    /// Codes are rounded before they are clamped, and clamped by `relu`, whose ends need no
    /// tensors: all numbers on the way are integers without error.
    pub(super) fn fake_quantize(&self, values: &Tensor) -> Result<Tensor> {
        let (half, highest) = (
            f64::from(half_codes(self.bits)),
            f64::from(highest_code(self.bits)),
        );
        let scaled = values
            .broadcast_mul(&self.scale)?
            .broadcast_sub(&self.zero_point)?;
        let from_below = scaled
            .affine(1.0, NO_FRACTION)?
            .affine(1.0, half - NO_FRACTION)?
            .relu()?;
        let from_above = from_below.affine(-1.0, highest)?.relu()?;
        let signed = from_above.affine(-1.0, highest - half)?;
        let integers = signed.broadcast_add(&self.zero_point)?;
        Ok(integers.broadcast_div(&self.scale)?)
    }
}

/// The weight that its codes stand for, with the range of every output channel or, if given, that
/// in the channel's row of `ranges`, `[out, 2]`.
pub(in crate::dfq) fn fake_quantize_weight(
    weight: &Tensor,
    bits: u8,
    ranges: Option<&Tensor>,
) -> Result<Tensor> {
    let rows = weight.flatten_from(1)?;
    let (min, max) = match ranges {
        Some(ranges) => (ranges.narrow(1, 0, 1)?, ranges.narrow(1, 1, 1)?),
        None => (rows.min_keepdim(1)?, rows.max_keepdim(1)?),
    };
    let quantizer = TensorQuantizer::of_range(bits, &min, &max)?;
    Ok(quantizer.fake_quantize(&rows)?.reshape(weight.shape())?)
}
