//! Element-wise functions and sums.

use candle_core::Tensor;

use crate::nn::{Error, Result};

/// 1 where `input` is positive, 0 elsewhere.
fn positive(input: &Tensor) -> Result<Tensor> {
    Ok(input.relu()?.sign()?)
}

pub(super) fn relu_backward(input: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    Ok((gradient * positive(input)?)?)
}

pub(super) fn relu6(input: &Tensor) -> Result<Tensor> {
    Ok(input.relu()?.minimum(6.0)?)
}

pub(super) fn relu6_backward(input: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let below = positive(&input.affine(-1.0, 6.0)?)?;
    Ok((gradient * (positive(input)? * below)?)?)
}

pub(super) fn leaky_relu(input: &Tensor, slope: f64) -> Result<Tensor> {
    let sloping = (input * slope)?;
    Ok(if slope <= 1.0 {
        input.maximum(&sloping)?
    } else {
        input.minimum(&sloping)?
    })
}

pub(super) fn leaky_relu_backward(input: &Tensor, slope: f64, gradient: &Tensor) -> Result<Tensor> {
    let slopes = positive(input)?.affine(1.0 - slope, slope)?;
    Ok((gradient * slopes)?)
}

pub(super) fn tanh_backward(output: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    Ok((gradient * output.sqr()?.affine(-1.0, 1.0)?)?)
}

/// Sum of two tensors of the same shape.
pub(in crate::nn) fn add(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    if left.dims() != right.dims() {
        let expected = format!("shape {:?}", left.dims());
        return Err(Error::shape("element-wise", expected, right.dims()));
    }
    Ok((left + right)?)
}
