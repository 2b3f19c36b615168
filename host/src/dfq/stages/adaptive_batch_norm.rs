//! Adaptive BatchNorm (He et al. 2022, arXiv 2204.04215): the student's BatchNorms learn what
//! quantization has done to what they read.

use std::sync::atomic::Ordering;

use super::{Material, Stage};
use crate::{
    dfq::{Error, Result, images::Images, student::Student},
    graph::{NodeId, Op},
};

/// Re-estimates mean and variance of the student's BatchNorms from the first to the last, each
/// behind layers that have theirs already: `new = (1 - momentum) old + momentum batch` for every
/// batch, with the unbiased variance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptiveBatchNorm {
    /// Batches through every layer, the same for all.
    pub batches: usize,
    /// Share of the newest batch.
    pub momentum: f64,
}

impl Stage for AdaptiveBatchNorm {
    fn name(&self) -> &'static str {
        "re-estimate the statistics of BatchNorm"
    }

    fn apply(&self, mut student: Student, material: &mut Material<'_>) -> Result<Student> {
        let next = |_| material.images.next_batch();
        let batches: Vec<Images> = (0..self.batches).map(next).collect::<Result<_>>()?;
        let nodes = student.trained().nodes.iter().enumerate();
        let norms = nodes.filter(|(_, node)| matches!(node.op, Op::BatchNorm(_)));
        for index in norms.map(|(index, _)| index).collect::<Vec<_>>() {
            for batch in &batches {
                if material.stop.load(Ordering::Relaxed) {
                    return Err(Error::Stopped);
                }
                student.follow_statistics(NodeId(index), &batch.images, self.momentum)?;
            }
        }
        Ok(student)
    }
}

#[cfg(test)]
mod tests;
