//! Factors and summands chosen by the class of a sample: the label embedding in front of the
//! generator and the affine part of class-conditional batch normalisation.

use candle_core::Tensor;

use super::Result;

/// `x[sample, channel, ..] * factor[class of sample, channel] + summand[class of sample, channel]`.
#[derive(Debug, Clone)]
pub struct Modulation {
    /// Names of the two tables in a checkpoint.
    pub names: [String; 2],
    /// `[classes, channels]`.
    pub factor: Tensor,
    /// `[classes, channels]`; `None` stands for 0.
    pub summand: Option<Tensor>,
}

/// Gradients of a [`Modulation`], each of the shape of what it belongs to.
#[derive(Debug, Clone)]
pub struct ModulationGradients {
    /// Of the tensor that was modulated.
    pub input: Tensor,
    /// Of the factors; rows of classes that do not occur are 0.
    pub factor: Tensor,
    /// Of the summands, if there are any.
    pub summand: Option<Tensor>,
}

impl Modulation {
    /// Modulates `x`, `[batch, channels, ..]`, for `labels`, one class per sample.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn forward(&self, x: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let product = x.broadcast_mul(&self.rows(&self.factor, x, labels)?)?;
        Ok(match &self.summand {
            Some(summand) => product.broadcast_add(&self.rows(summand, x, labels)?)?,
            None => product,
        })
    }

    /// Gradients for the input `x` and the gradient `grad` of the output of
    /// [`Modulation::forward`].
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn backward(
        &self,
        x: &Tensor,
        labels: &Tensor,
        grad: &Tensor,
    ) -> Result<ModulationGradients> {
        let input = grad.broadcast_mul(&self.rows(&self.factor, x, labels)?)?;
        let factor = scatter(&self.factor, &(grad * x)?, labels)?;
        let summand = self.summand.as_ref();
        let summand = summand
            .map(|table| scatter(table, grad, labels))
            .transpose()?;
        Ok(ModulationGradients {
            input,
            factor,
            summand,
        })
    }

    /// The row of every sample's class, with as many dimensions as `x`.
    fn rows(&self, table: &Tensor, x: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let mut shape = vec![1; x.rank()];
        shape[..2].copy_from_slice(&x.dims()[..2]);
        Ok(table.index_select(labels, 0)?.reshape(shape)?)
    }
}

/// Sums `values`, `[batch, channels, ..]`, over all but channels into the rows of the classes.
fn scatter(table: &Tensor, values: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let per_channel = if values.rank() > 2 {
        values.flatten_from(2)?.sum(2)?
    } else {
        values.clone()
    };
    Ok(table.zeros_like()?.index_add(labels, &per_channel, 0)?)
}
