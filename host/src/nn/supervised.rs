//! The loss of ordinary training.

use candle_core::Tensor;

use super::values::{tensor, values};
use super::{Error, Result};

/// Mean cross entropy of `logits` `[batch, classes]` against the classes `labels`, and its
/// gradient with respect to the logits.
///
/// # Errors
/// When the sizes do not fit or a label is outside the classes.
pub fn cross_entropy(logits: &Tensor, labels: &[usize]) -> Result<(f64, Tensor)> {
    let &[batch, classes] = logits.dims() else {
        return Err(Error::shape(
            "cross_entropy",
            "[batch, classes]",
            logits.dims(),
        ));
    };
    if batch != labels.len() {
        return Err(Error::shape(
            "cross_entropy",
            format!("{} rows", labels.len()),
            logits.dims(),
        ));
    }
    let z = values(logits)?;
    let mut loss = 0.0;
    let mut gradient = Vec::with_capacity(z.len());
    for (row, &label) in z.chunks_exact(classes).zip(labels) {
        if label >= classes {
            return Err(Error::Label { label, classes });
        }
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exponentials = row
            .iter()
            .map(|&z| f64::from(z - largest).exp())
            .collect::<Vec<_>>();
        let total = exponentials.iter().sum::<f64>();
        loss += total.ln() - f64::from(row[label] - largest);
        gradient.extend(exponentials.iter().enumerate().map(|(class, exponential)| {
            let target = if class == label { 1.0 } else { 0.0 };
            ((exponential / total - target) / batch as f64) as f32
        }));
    }
    Ok((loss / batch as f64, tensor(gradient, &[batch, classes])?))
}
