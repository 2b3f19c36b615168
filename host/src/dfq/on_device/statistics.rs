//! The loss on the statistics of the teacher's BatchNorm inputs, for all layers at once.

use candle_core::Tensor;

use crate::{
    dfq::Result,
    graph::BatchNorm,
    nn::{executor::ChannelGradient, ops::batch_norm::BatchMoments},
};

/// Statistics of one BatchNorm input beside those of the training data.
pub(in crate::dfq) struct LayerMoments<'a> {
    /// Of the batch.
    pub(in crate::dfq) batch: &'a BatchMoments,
    /// With those of the training data.
    pub(in crate::dfq) norm: &'a BatchNorm,
    /// Values per channel that the batch's statistics were taken over.
    pub(in crate::dfq) values_per_channel: usize,
    /// Variance that counts as 1.
    pub(in crate::dfq) unit: f64,
}

/// The loss, a scalar on the device, and the gradient of `weight` times the loss with respect to
/// every layer's input.
pub(in crate::dfq) fn batch_norm_loss(
    layers: &[LayerMoments<'_>],
    weight: f64,
) -> Result<(Tensor, Vec<ChannelGradient>)> {
    let joined = |select: &dyn Fn(&LayerMoments<'_>) -> Tensor| -> Result<Tensor> {
        let tensors = layers.iter().map(select).collect::<Vec<_>>();
        Ok(Tensor::cat(&tensors, 0)?)
    };
    let mean = joined(&|layer| layer.batch.mean.clone())?;
    let off_mean = (&mean - joined(&|layer| layer.norm.running_mean.clone())?)?;
    let off_var = (joined(&|layer| layer.batch.var.clone())?
        - joined(&|layer| layer.norm.running_var.clone())?)?;

    // What a channel counts in the mean over layers and channels, and per value of the channel.
    let shares = per_channel(layers, &mean, |_, channels| {
        1.0 / (layers.len() * channels) as f64
    })?;
    let factors = per_channel(layers, &mean, |layer, channels| {
        2.0 * weight / (layers.len() * channels * layer.values_per_channel) as f64
    })?;
    let per_unit = per_channel(layers, &mean, |layer, _| 1.0 / layer.unit)?;
    let mean_per_unit = (&off_mean * &per_unit)?;
    let off_var = (off_var * &per_unit)?;
    let loss = (((off_mean * &mean_per_unit)? + off_var.sqr()?)? * shares)?.sum_all()?;
    let slope = ((&factors * (off_var * per_unit)?)? * 2.0)?;
    let offset = ((factors * mean_per_unit)? - (&slope * mean)?)?;

    let mut first = 0;
    let of_layer = |layer: &LayerMoments<'_>| -> Result<ChannelGradient> {
        let channels = layer.batch.mean.elem_count();
        let gradient = ChannelGradient {
            offset: offset.narrow(0, first, channels)?,
            slope: slope.narrow(0, first, channels)?,
        };
        first += channels;
        Ok(gradient)
    };
    let gradients = layers.iter().map(of_layer).collect::<Result<_>>()?;
    Ok((loss, gradients))
}

/// `number(layer, channels)` of every layer, as often as it has channels.
fn per_channel(
    layers: &[LayerMoments<'_>],
    like: &Tensor,
    number: impl Fn(&LayerMoments<'_>, usize) -> f64,
) -> Result<Tensor> {
    let numbers = layers.iter().flat_map(|layer| {
        let channels = layer.batch.mean.elem_count();
        let number = number(layer, channels) as f32;
        std::iter::repeat_n(number, channels)
    });
    let numbers = numbers.collect::<Vec<_>>();
    Ok(Tensor::from_vec(numbers, like.shape(), like.device())?)
}
