//! What stands between an accumulator and the output code, in real numbers.

use super::pattern::Branch;
use super::{Error, weights::Codes};
use crate::graph::BatchNorm;

/// `gain * accumulator + offset` per output channel, in real units.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Affine {
    pub(super) gains: Vec<f64>,
    pub(super) offsets: Vec<f64>,
    /// What the trained statistics say about the accumulators, if there is a BatchNorm.
    pub(super) statistics: Option<Vec<Statistics>>,
}

/// Mean and variance of the accumulators of one output channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Statistics {
    pub(super) mean: f64,
    pub(super) variance: f64,
}

impl Affine {
    /// Folds scales, bias and BatchNorm: with `d = sqrt(var + eps)`, the gain is
    /// `gamma / (d * s_w * s_a)` and the offset `beta + gamma * (bias - mean) / d`.
    pub(super) fn new(branch: &Branch<'_>, codes: &Codes, input_scale: f64) -> Result<Self, Error> {
        let channels = codes.scales.len();
        let vector = |tensor: Option<&candle_core::Tensor>, default: f64| match tensor {
            None => Ok(vec![default; channels]),
            Some(tensor) => tensor.to_vec1::<f32>().map_or_else(
                |source| {
                    Err(Error::Tensor {
                        node: branch.name.to_owned(),
                        source,
                    })
                },
                |values| Ok(values.into_iter().map(f64::from).collect()),
            ),
        };
        let bias = vector(branch.weighted.bias(), 0.0)?;
        let Some(BatchNorm {
            weight,
            bias: beta,
            running_mean,
            running_var,
            eps,
        }) = branch.norm
        else {
            let gains = codes
                .scales
                .iter()
                .map(|scale| 1.0 / (scale * input_scale))
                .collect();
            return Ok(Self {
                gains,
                offsets: bias,
                statistics: None,
            });
        };
        let (gamma, beta) = (vector(weight.as_ref(), 1.0)?, vector(beta.as_ref(), 0.0)?);
        let (mean, variance) = (
            vector(Some(running_mean), 0.0)?,
            vector(Some(running_var), 1.0)?,
        );
        let deviation = variance
            .iter()
            .map(|variance| (variance + eps).sqrt())
            .collect::<Vec<_>>();
        let gain = |channel: usize| {
            gamma[channel] / (deviation[channel] * codes.scales[channel] * input_scale)
        };
        let offset = |channel: usize| {
            beta[channel] + gamma[channel] * (bias[channel] - mean[channel]) / deviation[channel]
        };
        let statistics = |channel: usize| {
            let unit = codes.scales[channel] * input_scale;
            Statistics {
                mean: (mean[channel] - bias[channel]) * unit,
                variance: (deviation[channel] * unit).powi(2),
            }
        };
        Ok(Self {
            gains: (0..channels).map(gain).collect(),
            offsets: (0..channels).map(offset).collect(),
            statistics: Some((0..channels).map(statistics).collect()),
        })
    }

    /// The same in units of `1 / scale`.
    pub(super) fn scaled(mut self, scale: f64) -> Self {
        self.gains
            .iter_mut()
            .chain(&mut self.offsets)
            .for_each(|value| *value *= scale);
        self
    }
}
