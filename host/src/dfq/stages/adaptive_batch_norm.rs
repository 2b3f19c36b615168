//! Adaptive BatchNorm: the student's BatchNorms learn what quantization has done to what they read.

use std::sync::atomic::Ordering;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{Material, Stage};
use crate::{
    dfq::{
        Error, Result,
        images::Images,
        student::{Student, input_of},
    },
    graph::{BatchNorm, NodeId, Op},
    nn::ops::batch_norm::{self, BatchMoments},
};

/// What becomes of the statistics on the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Estimate {
    /// They are taken over, batch after batch: `new = (1 - momentum) old + momentum batch` (He et
    /// al. 2022, arXiv 2204.04215). Right for images that are like the training data.
    #[default]
    Running,
    /// Only what sets them apart from those of the float network on the same images is: the mean
    /// moves by the difference of the means, the variance by the ratio of the variances. The
    /// images need not be like the training data.
    Difference,
}

impl Estimate {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Running, Self::Difference];

    /// What the user calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Difference => "difference",
        }
    }
}

impl std::str::FromStr for Estimate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| Error::Estimate {
            name: text.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// Re-estimates mean and variance of the student's BatchNorms from the first to the last, each
/// behind layers that have theirs already. Variances are unbiased.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptiveBatchNorm {
    /// Batches through every layer, the same for all.
    pub batches: usize,
    /// Share of the newest batch in [`Estimate::Running`].
    pub momentum: f64,
    /// What becomes of the statistics.
    pub estimate: Estimate,
}

impl Stage for AdaptiveBatchNorm {
    fn name(&self) -> &'static str {
        "re-estimate the statistics of BatchNorm"
    }

    fn apply(&self, mut student: Student, material: &mut Material<'_>) -> Result<Student> {
        let next = |_| material.images.next_batch();
        let batches: Vec<Images> = (0..self.batches).map(next).collect::<Result<_>>()?;
        for (node, norm) in batch_norms(&student) {
            let measure = |read: &mut dyn FnMut(&Tensor) -> Result<Tensor>| {
                let one = |batch: &Images| {
                    if material.stop.load(Ordering::Relaxed) {
                        return Err(Error::Stopped);
                    }
                    moments(&norm, &read(&batch.images)?)
                };
                batches.iter().map(one).collect::<Result<Vec<_>>>()
            };
            let seen = measure(&mut |images| student.input_of(node, images))?;
            let found = match self.estimate {
                Estimate::Running => self.running(&norm, &seen)?,
                Estimate::Difference => {
                    let expected =
                        measure(&mut |images| input_of(material.teacher, node, images, &mut ()))?;
                    difference(&norm, &seen, &expected)?
                }
            };
            student.set_statistics(node, &found);
        }
        Ok(student)
    }
}

impl AdaptiveBatchNorm {
    fn running(&self, norm: &BatchNorm, seen: &[BatchMoments]) -> Result<BatchMoments> {
        let mut found = BatchMoments {
            mean: norm.running_mean.clone(),
            var: norm.running_var.clone(),
        };
        for batch in seen {
            found.mean = self.blend(&found.mean, &batch.mean)?;
            found.var = self.blend(&found.var, &batch.var)?;
        }
        Ok(found)
    }

    fn blend(&self, old: &Tensor, new: &Tensor) -> Result<Tensor> {
        Ok(((old * (1.0 - self.momentum))? + (new * self.momentum)?)?)
    }
}

/// The student's BatchNorms as they are, in the order of the nodes.
fn batch_norms(student: &Student) -> Vec<(NodeId, BatchNorm)> {
    let nodes = student.trained().nodes.iter().enumerate();
    nodes
        .filter_map(|(index, node)| match &node.op {
            Op::BatchNorm(norm) => Some((NodeId(index), norm.clone())),
            _ => None,
        })
        .collect()
}

/// Mean and unbiased variance of what a BatchNorm reads.
fn moments(norm: &BatchNorm, read: &Tensor) -> Result<BatchMoments> {
    let channels = batch_norm::channels(norm)?;
    let moments = batch_norm::moments(read, channels)?;
    let values = (read.elem_count() / channels) as f64;
    let unbiased = values / (values - 1.0).max(1.0);
    Ok(BatchMoments {
        mean: moments.mean,
        var: (moments.var * unbiased)?,
    })
}

fn difference(
    norm: &BatchNorm,
    seen: &[BatchMoments],
    expected: &[BatchMoments],
) -> Result<BatchMoments> {
    let (seen, expected) = (mean(seen)?, mean(expected)?);
    let ratio = ((seen.var + norm.eps)? / (expected.var + norm.eps)?)?;
    Ok(BatchMoments {
        mean: (&norm.running_mean + (seen.mean - expected.mean)?)?,
        var: (&norm.running_var * ratio)?,
    })
}

fn mean(moments: &[BatchMoments]) -> Result<BatchMoments> {
    let mean = |part: fn(&BatchMoments) -> &Tensor| -> Result<Tensor> {
        let parts: Vec<&Tensor> = moments.iter().map(part).collect();
        Ok(Tensor::stack(&parts, 0)?.mean(0)?)
    };
    Ok(BatchMoments {
        mean: mean(|moments| &moments.mean)?,
        var: mean(|moments| &moments.var)?,
    })
}

#[cfg(test)]
mod tests;
