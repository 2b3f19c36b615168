//! Where the values of a tensor lie, beyond its range too.

use std::vec::Vec;

use crate::calibration::Histogram;
use crate::format::{Storage, TensorSpec};

use super::epilogue::Finish;
use super::plan::StepKind;
use super::{BatchNetwork, Workspace};

impl BatchNetwork<'_> {
    /// Has `operation` write the bins of its values in place of their codes from now on, and returns
    /// an empty histogram for [`count`](Self::count). `None`, and nothing changes, if it is neither a
    /// convolution nor an addition, or its codes do not go from 0 to the largest of their width.
    pub fn bin(&mut self, operation: usize) -> Option<Histogram> {
        let step = self.plan.steps.get_mut(operation)?;
        let (finish, low, high) = match &mut step.kind {
            StepKind::Convolution(step) => {
                (step.finish.as_mut_slice(), &mut step.low, &mut step.high)
            }
            StepKind::Add(step) => (
                std::slice::from_mut(&mut step.finish),
                &mut step.low,
                &mut step.high,
            ),
            StepKind::InputTable(_) | StepKind::Pool(_) | StepKind::Logits(_) => return None,
        };
        let largest = largest_code(&step.output)?;
        if (*low, *high) != (0, largest.into()) {
            return None;
        }
        let histogram = Histogram::new(largest);
        let binning = |finish: &Finish| histogram.binning(&finish.affine);
        let binning: Vec<_> = finish.iter().map(binning).collect::<Option<_>>()?;
        for (finish, affine) in finish.iter_mut().zip(binning) {
            finish.affine = affine;
        }
        *high = Histogram::BINS as i32 - 1;
        Some(histogram)
    }

    /// Runs at most [`IMAGES`](super::IMAGES) images up to `operation`, which [`bin`](Self::bin) has
    /// been called for, and takes its values into `histogram`.
    pub fn count(
        &self,
        images: &[&[u8]],
        workspace: &mut Workspace,
        operation: usize,
        histogram: &mut Histogram,
    ) {
        self.execute(images, workspace, operation + 1, None, |index, tensor| {
            if index == operation {
                for element in tensor.elements() {
                    let bins = element.iter().take(images.len());
                    bins.for_each(|bin| histogram.add(*bin as usize));
                }
            }
        });
    }
}

/// Of a tensor of codes whose value is the code itself.
fn largest_code(output: &TensorSpec) -> Option<u8> {
    match output.storage {
        Storage::Code8 { bits } if output.zero_point == 0 => {
            Some(u8::MAX >> u8::BITS.saturating_sub(bits.into()))
        }
        _ => None,
    }
}
