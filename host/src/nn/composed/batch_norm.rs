//! Batch normalisation, with stored statistics or those of the batch.

use candle_core::Tensor;

use super::{per_channel, sum_per_channel};
use crate::graph::BatchNorm;
use crate::nn::executor::ChannelGradient;
use crate::nn::ops::batch_norm::{BatchMoments, Gradients, Wanted};
use crate::nn::{Error, Result};

fn check(norm: &BatchNorm, input: &Tensor) -> Result<()> {
    let channels = norm.running_mean.dims1()?;
    if !matches!(input.rank(), 2 | 4) || input.dim(1)? != channels {
        let expected = format!("{channels} channels");
        return Err(Error::shape("batch_norm", expected, input.dims()));
    }
    Ok(())
}

fn values_per_channel(input: &Tensor) -> Result<f64> {
    Ok((input.elem_count() / input.dim(1)?.max(1)) as f64)
}

fn centered(input: &Tensor, mean: &Tensor) -> Result<Tensor> {
    Ok(input.broadcast_sub(&per_channel(mean, input.rank())?)?)
}

/// Mean and variance of what the layer reads; the mean is subtracted before squaring.
pub(super) fn moments(norm: &BatchNorm, input: &Tensor) -> Result<BatchMoments> {
    check(norm, input)?;
    let share = 1.0 / values_per_channel(input)?;
    let mean = (sum_per_channel(input)? * share)?;
    let var = (sum_per_channel(&centered(input, &mean)?.sqr()?)? * share)?;
    Ok(BatchMoments { mean, var })
}

/// What a layer normalises with.
struct Statistics<'a> {
    mean: &'a Tensor,
    inverse_deviation: Tensor,
}

impl<'a> Statistics<'a> {
    fn new(norm: &'a BatchNorm, batch: Option<&'a BatchMoments>) -> Result<Self> {
        let (mean, var) = match batch {
            Some(moments) => (&moments.mean, &moments.var),
            None => (&norm.running_mean, &norm.running_var),
        };
        Ok(Self {
            mean,
            inverse_deviation: var.affine(1.0, norm.eps)?.sqrt()?.recip()?,
        })
    }

    /// Gamma over the deviation.
    fn scale(&self, norm: &BatchNorm) -> Result<Tensor> {
        Ok(match &norm.weight {
            Some(gamma) => (gamma * &self.inverse_deviation)?,
            None => self.inverse_deviation.clone(),
        })
    }
}

pub(super) fn forward(
    norm: &BatchNorm,
    batch: Option<&BatchMoments>,
    input: &Tensor,
) -> Result<Tensor> {
    check(norm, input)?;
    let statistics = Statistics::new(norm, batch)?;
    let scale = per_channel(&statistics.scale(norm)?, input.rank())?;
    let output = centered(input, statistics.mean)?.broadcast_mul(&scale)?;
    Ok(match &norm.bias {
        Some(beta) => output.broadcast_add(&per_channel(beta, input.rank())?)?,
        None => output,
    })
}

/// The gradient at the input is `scale * g + slope * x + offset` per channel, where slope and
/// offset come from the batch's statistics and from `extra`.
pub(super) fn backward(
    norm: &BatchNorm,
    batch: Option<&BatchMoments>,
    input: &Tensor,
    gradient: &Tensor,
    extra: Option<&ChannelGradient>,
    wanted: Wanted,
) -> Result<Gradients> {
    check(norm, input)?;
    let statistics = Statistics::new(norm, batch)?;
    let sums = if wanted.parameters || batch.is_some() {
        let products = (gradient * centered(input, statistics.mean)?)?;
        let of_gamma = (sum_per_channel(&products)? * &statistics.inverse_deviation)?;
        Some((sum_per_channel(gradient)?, of_gamma))
    } else {
        None
    };
    let mut gradients = Gradients::default();
    if let (true, Some((of_beta, of_gamma))) = (wanted.parameters, &sums) {
        gradients.weight = norm.weight.is_some().then(|| of_gamma.clone());
        gradients.bias = norm.bias.is_some().then(|| of_beta.clone());
    }
    if wanted.input {
        let scale = statistics.scale(norm)?;
        let through_moments = match (batch, sums) {
            (Some(_), Some(sums)) => Some(through_moments(&statistics, &scale, sums, input)?),
            _ => None,
        };
        let line = total(through_moments, extra.cloned())?;
        let scale = per_channel(&scale, input.rank())?;
        let direct = gradient.broadcast_mul(&scale)?;
        gradients.input = Some(match line {
            Some(line) => add_line(&direct, &line, input)?,
            None => direct,
        });
    }
    Ok(gradients)
}

/// What reaches the input by way of the batch's mean and variance.
fn through_moments(
    statistics: &Statistics<'_>,
    scale: &Tensor,
    (of_beta, of_gamma): (Tensor, Tensor),
    input: &Tensor,
) -> Result<ChannelGradient> {
    let share = -1.0 / values_per_channel(input)?;
    let scale = (scale * share)?;
    let slope = ((&scale * &statistics.inverse_deviation)? * of_gamma)?;
    let offset = ((scale * of_beta)? - (&slope * statistics.mean)?)?;
    Ok(ChannelGradient { offset, slope })
}

fn total(
    left: Option<ChannelGradient>,
    right: Option<ChannelGradient>,
) -> Result<Option<ChannelGradient>> {
    Ok(match (left, right) {
        (Some(left), Some(right)) => Some(ChannelGradient {
            offset: (left.offset + right.offset)?,
            slope: (left.slope + right.slope)?,
        }),
        (left, right) => left.or(right),
    })
}

fn add_line(direct: &Tensor, line: &ChannelGradient, input: &Tensor) -> Result<Tensor> {
    let slope = per_channel(&line.slope, input.rank())?;
    let offset = per_channel(&line.offset, input.rank())?;
    Ok((direct + input.broadcast_mul(&slope)?)?.broadcast_add(&offset)?)
}
