//! The operators as chains of candle's tensor operations, for devices without operators of their
//! own. The same code runs on the CPU, where it is held against the tuned operators.
//!
//! Nothing here waits for the device or brings a number back. candle's own gradients are not used:
//! some are wrong, and that of a convolution's input has a slow kernel (here it is a convolution of
//! the gradient).

mod backward;
mod batch_norm;
mod convolution;
mod depthwise;
mod elementwise;
mod forward;
mod linear;
mod pool;
mod resample;
mod spatial;
#[cfg(test)]
mod tests;

pub(super) use backward::node as backward_node;
pub(super) use elementwise::add;
pub(super) use forward::compute;

use candle_core::{DType, Device, Tensor};

use super::Result;
use crate::graph::Precision;

/// `product` of two tensors in the numbers of `precision`, as `f32`. The CPU multiplies no `bf16`
/// numbers: there the factors are rounded, and so is the product, which is the same but for the
/// order of its sums.
fn in_precision(
    precision: Precision,
    left: &Tensor,
    right: &Tensor,
    product: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    match precision {
        Precision::Single => product(left, right),
        Precision::BFloat16 => {
            let rounded = |tensor: &Tensor| -> Result<Tensor> {
                let rounded = tensor.to_dtype(DType::BF16)?;
                Ok(match tensor.device() {
                    Device::Cpu => rounded.to_dtype(DType::F32)?,
                    _ => rounded,
                })
            };
            let product = product(&rounded(left)?, &rounded(right)?)?;
            Ok(product.to_dtype(DType::BF16)?.to_dtype(DType::F32)?)
        }
    }
}

/// While this is held, candle keeps the small tables that it sends to the device before many of
/// its kernels (shapes, strides, constants), so that a step after the first sends nothing.
#[cfg(feature = "cuda")]
pub(super) fn keep_uploads(device: &Device) -> impl Sized + use<> {
    match device {
        Device::Cuda(device) => Some(device.enable_cuda_graph_htod_cache()),
        _ => None,
    }
}

/// Nothing is sent anywhere.
#[cfg(not(feature = "cuda"))]
pub(super) fn keep_uploads(_: &Device) -> impl Sized + use<> {}

/// Sum over all but the channels of `[batch, channels, ..]`. The planes come first: they are long
/// and lie together, and there are enough of them to occupy a large device.
fn sum_per_channel(values: &Tensor) -> Result<Tensor> {
    let planes = match values.rank() {
        0..=2 => values.clone(),
        _ => values.flatten_from(2)?.sum(2)?,
    };
    Ok(planes.sum(0)?)
}

/// `[channels]` in the shape in which it is combined with `[batch, channels, ..]` of `rank`.
fn per_channel(values: &Tensor, rank: usize) -> Result<Tensor> {
    let mut shape = vec![1; rank];
    shape[1] = values.elem_count();
    Ok(values.reshape(shape)?)
}
