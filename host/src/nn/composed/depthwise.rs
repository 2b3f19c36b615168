//! Convolutions with a kernel of its own for every channel, tap by tap: one group after the other
//! would keep a large device waiting.

use candle_core::Tensor;

use super::spatial::sample;
use super::sum_per_channel;
use crate::nn::Result;
use crate::nn::ops::conv2d::Geometry;

/// Whether every channel has a kernel of its own.
pub(super) fn applies(geometry: &Geometry) -> bool {
    let Geometry {
        groups,
        channels_in,
        channels_out,
        ..
    } = *geometry;
    groups > 1 && groups == channels_in && groups == channels_out
}

/// Slides `kernel`, `[channels, 1, rows, columns]`, over an image with its margins.
pub(super) fn slide(
    image: &Tensor,
    kernel: &Tensor,
    stride: usize,
    output: [usize; 2],
) -> Result<Tensor> {
    let (channels, _, rows, columns) = kernel.dims4()?;
    let kernel = kernel.reshape((channels, rows * columns))?;
    let tap = |tap: usize| -> Result<Tensor> {
        let pixels = sample(image, [tap / columns, tap % columns], [stride; 2], output)?;
        let factors = kernel.narrow(1, tap, 1)?.reshape((1, channels, 1, 1))?;
        Ok(pixels.broadcast_mul(&factors)?)
    };
    (1..rows * columns).try_fold(tap(0)?, |sum, index| Ok((sum + tap(index)?)?))
}

/// Gradient of the kernel; `image` has its margins.
pub(super) fn backward_weight(
    geometry: &Geometry,
    image: &Tensor,
    gradient: &Tensor,
) -> Result<Tensor> {
    let [rows, columns] = geometry.kernel;
    let tap = |tap: usize| -> Result<Tensor> {
        let first = [tap / columns, tap % columns];
        let pixels = sample(image, first, [geometry.stride; 2], geometry.output)?;
        sum_per_channel(&(pixels * gradient)?)
    };
    let taps = (0..rows * columns).map(tap).collect::<Result<Vec<_>>>()?;
    let taps = Tensor::stack(&taps, 1)?;
    Ok(taps.reshape((geometry.channels_out, 1, rows, columns))?)
}
