//! Element-wise functions and sums.

use candle_core::Tensor;
use rayon::prelude::*;

use super::vectorized;
use crate::nn::values::{tensor, values};
use crate::nn::{Error, Result};

/// Elements that one thread takes at a time.
const CHUNK: usize = 1 << 15;

fn map(input: &Tensor, function: impl Fn(f32) -> f32 + Sync) -> Result<Tensor> {
    let x = values(input)?;
    let mut output = vec![0f32; x.len()];
    output
        .par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(output, x)| {
            vectorized(|| {
                output
                    .iter_mut()
                    .zip(x)
                    .for_each(|(output, &x)| *output = function(x))
            });
        });
    tensor(output, input.dims())
}

fn zip(left: &Tensor, right: &Tensor, function: impl Fn(f32, f32) -> f32 + Sync) -> Result<Tensor> {
    if left.dims() != right.dims() {
        return Err(Error::shape(
            "element-wise",
            format!("shape {:?}", left.dims()),
            right.dims(),
        ));
    }
    let (a, b) = (values(left)?, values(right)?);
    let mut output = vec![0f32; a.len()];
    let chunks = output
        .par_chunks_mut(CHUNK)
        .zip(a.par_chunks(CHUNK))
        .zip(b.par_chunks(CHUNK));
    chunks.for_each(|((output, a), b)| {
        vectorized(|| {
            let elements = output.iter_mut().zip(a).zip(b);
            elements.for_each(|((output, &a), &b)| *output = function(a, b));
        });
    });
    tensor(output, left.dims())
}

/// `max(x, 0)`.
///
/// # Errors
/// Never for tensors of the executor.
pub fn relu(input: &Tensor) -> Result<Tensor> {
    map(input, |x| if x > 0.0 { x } else { 0.0 })
}

/// Gradient of [`relu`]; 0 at 0, as in PyTorch.
///
/// # Errors
/// When the shapes differ.
pub fn relu_backward(input: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    zip(input, gradient, |x, g| if x > 0.0 { g } else { 0.0 })
}

/// `min(max(x, 0), 6)`.
///
/// # Errors
/// Never for tensors of the executor.
pub fn relu6(input: &Tensor) -> Result<Tensor> {
    map(input, |x| if x > 0.0 { x.min(6.0) } else { 0.0 })
}

/// Gradient of [`relu6`]; 0 at both ends.
///
/// # Errors
/// When the shapes differ.
pub fn relu6_backward(input: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    zip(
        input,
        gradient,
        |x, g| if x > 0.0 && x < 6.0 { g } else { 0.0 },
    )
}

/// `x` where positive, `slope * x` elsewhere.
///
/// # Errors
/// Never for tensors of the executor.
pub fn leaky_relu(input: &Tensor, slope: f32) -> Result<Tensor> {
    map(input, |x| if x > 0.0 { x } else { slope * x })
}

/// Gradient of [`leaky_relu`]; `slope` at 0, as in PyTorch.
///
/// # Errors
/// When the shapes differ.
pub fn leaky_relu_backward(input: &Tensor, slope: f32, gradient: &Tensor) -> Result<Tensor> {
    zip(input, gradient, |x, g| if x > 0.0 { g } else { slope * g })
}

/// Hyperbolic tangent.
///
/// # Errors
/// Never for tensors of the executor.
pub fn tanh(input: &Tensor) -> Result<Tensor> {
    map(input, f32::tanh)
}

/// Gradient of [`tanh`] from its output.
///
/// # Errors
/// When the shapes differ.
pub fn tanh_backward(output: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    zip(output, gradient, |y, g| g * (1.0 - y * y))
}

/// Sum of two tensors of the same shape; also how the gradients of two consumers add up.
///
/// # Errors
/// When the shapes differ.
pub fn add(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    zip(left, right, |a, b| a + b)
}
