//! Linear layer: `y = x * w^T + bias`.

use candle_core::Tensor;

use super::in_precision;
use crate::graph::{Linear, Precision};
use crate::nn::{Error, Result};

pub(super) fn forward(
    linear: &Linear,
    weight: &Tensor,
    input: &Tensor,
    precision: Precision,
) -> Result<Tensor> {
    let (_, features) = linear.weight.dims2()?;
    if input.rank() != 2 || input.dim(1)? != features {
        let expected = format!("[batch, {features}]");
        return Err(Error::shape("linear", expected, input.dims()));
    }
    let output = in_precision(precision, input, weight, |input, weight| {
        Ok(input.matmul(&weight.t()?)?)
    })?;
    Ok(match &linear.bias {
        Some(bias) => output.broadcast_add(bias)?,
        None => output,
    })
}

pub(super) fn backward_input(
    weight: &Tensor,
    gradient: &Tensor,
    precision: Precision,
) -> Result<Tensor> {
    in_precision(precision, gradient, weight, |gradient, weight| {
        Ok(gradient.matmul(weight)?)
    })
}

pub(super) fn backward_weight(
    input: &Tensor,
    gradient: &Tensor,
    precision: Precision,
) -> Result<Tensor> {
    in_precision(precision, gradient, input, |gradient, input| {
        Ok(gradient.t()?.matmul(input)?)
    })
}

pub(super) fn backward_bias(gradient: &Tensor) -> Result<Tensor> {
    Ok(gradient.sum(0)?)
}
