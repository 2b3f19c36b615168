//! Linear layer: `y = x * w^T + bias`.

use candle_core::Tensor;

use super::matmul::{Matrix, matmul};
use crate::graph::Linear;
use crate::nn::values::{tensor, values};
use crate::nn::{Error, Result};

/// Rows of the batch, features read and features written.
fn sizes(linear: &Linear, input: &[usize]) -> Result<(usize, usize, usize)> {
    match (linear.weight.dims(), input) {
        (&[out, features], &[batch, found]) if features == found => Ok((batch, features, out)),
        (&[_, features], _) => Err(Error::shape(
            "linear",
            format!("[batch, {features}]"),
            input,
        )),
        (weight, _) => Err(Error::shape("linear", "a weight of rank 2", weight)),
    }
}

/// Output `[batch, out]`.
///
/// # Errors
/// When the shapes do not fit.
pub fn forward(linear: &Linear, weight: &Tensor, input: &Tensor) -> Result<Tensor> {
    let (batch, features, out) = sizes(linear, input.dims())?;
    let (x, w) = (values(input)?, values(weight)?);
    let mut output = vec![0f32; batch * out];
    let size = (batch, features, out);
    matmul(
        size,
        &mut output,
        Matrix::rows(&x, features),
        Matrix::transposed(&w, features),
    );
    if let Some(bias) = &linear.bias {
        let bias = values(bias)?;
        for row in output.chunks_exact_mut(out) {
            row.iter_mut()
                .zip(bias.iter())
                .for_each(|(value, bias)| *value += bias);
        }
    }
    tensor(output, &[batch, out])
}

/// Gradient with respect to the input.
///
/// # Errors
/// When the shapes do not fit.
pub fn backward_input(linear: &Linear, weight: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let (w, g) = (values(weight)?, values(gradient)?);
    let &[out, features] = linear.weight.dims() else {
        return Err(Error::shape(
            "linear",
            "a weight of rank 2",
            linear.weight.dims(),
        ));
    };
    let batch = g.len() / out;
    let mut output = vec![0f32; batch * features];
    matmul(
        (batch, out, features),
        &mut output,
        Matrix::rows(&g, out),
        Matrix::rows(&w, features),
    );
    tensor(output, &[batch, features])
}

/// Gradient with respect to the weight.
///
/// # Errors
/// When the shapes do not fit.
pub fn backward_weight(linear: &Linear, input: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let (batch, features, out) = sizes(linear, input.dims())?;
    let (x, g) = (values(input)?, values(gradient)?);
    let mut output = vec![0f32; out * features];
    let size = (out, batch, features);
    matmul(
        size,
        &mut output,
        Matrix::transposed(&g, out),
        Matrix::rows(&x, features),
    );
    tensor(output, &[out, features])
}

/// Gradient with respect to the bias.
///
/// # Errors
/// When the gradient is not of rank 2.
pub fn backward_bias(gradient: &Tensor) -> Result<Tensor> {
    let &[_, out] = gradient.dims() else {
        return Err(Error::shape(
            "linear bias",
            "[batch, features]",
            gradient.dims(),
        ));
    };
    let g = values(gradient)?;
    let mut total = vec![0f32; out];
    for row in g.chunks_exact(out) {
        total
            .iter_mut()
            .zip(row)
            .for_each(|(total, value)| *total += value);
    }
    tensor(total, &[out])
}
