//! What is done to the student once training is over.

mod adaptive_batch_norm;

use std::{fmt, sync::atomic::AtomicBool};

pub use adaptive_batch_norm::{AdaptiveBatchNorm, Estimate};

use super::{Result, images::ImageSource, student::Student};
use crate::graph::Graph;

/// A step that takes the student and gives it back changed.
pub trait Stage: fmt::Debug + Send + Sync {
    /// What it does, for a log: `re-estimate BatchNorm`.
    fn name(&self) -> &'static str;

    /// The changed student.
    ///
    /// # Errors
    /// If the networks do not fit the stage, or [`super::Error::Stopped`] if it was told to stop.
    fn apply(&self, student: Student, material: &mut Material<'_>) -> Result<Student>;
}

/// What a stage may use.
pub struct Material<'a> {
    /// The float network.
    pub teacher: &'a Graph,
    /// Generated or given images.
    pub images: &'a mut dyn ImageSource,
    /// Set when the user asks to stop.
    pub stop: &'a AtomicBool,
}

/// Applies all stages in their order.
///
/// # Errors
/// Those of the stages.
pub fn apply_all(
    stages: &[Box<dyn Stage>],
    student: Student,
    material: &mut Material<'_>,
) -> Result<Student> {
    stages.iter().try_fold(student, |student, stage| {
        tracing::info!("{}", stage.name());
        stage.apply(student, material)
    })
}
