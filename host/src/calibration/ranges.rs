//! Ranges of activations that the images leave, beside their moments.

use lowbit_runtime::batch::{BatchNetwork, IMAGES, Workspace};
use lowbit_runtime::calibration::Histogram;
use lowbit_runtime::format::Model;
use rayon::prelude::*;

use super::Error;
use crate::integer::IntegerNetwork;
use crate::pack::Parts;

/// A network with other ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitted {
    /// The packed file, with the new moments' parameters, too.
    pub packed: Vec<u8>,
    /// The layers whose outputs have another range.
    pub layers: Vec<FittedLayer>,
}

/// A layer whose output has another range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FittedLayer {
    /// Name of the layer.
    pub name: String,
    /// Values beyond the range that it had, in thousandths.
    pub clipped_permille: u32,
    /// 8 times the binary logarithm of the new number of codes per unit divided by the old one.
    pub eighths: i8,
}

/// Gives the tensors of `network` with the new parameters in `payload` that leave their ranges on
/// `images` the ranges of the least squared error, one after the other; `None` if there are none. They
/// are those of which `margin` thousandths more values than of the golden images, by the factory's
/// parameters, lie beyond the range. A tensor whose code 0 is not the real value 0, or some parameter of which would not fit, keeps its
/// range, as do all of a network that does not run in batches.
///
/// # Errors
/// If an image has another size, or the result is no packed file.
pub fn fit_ranges(
    network: &IntegerNetwork<'_>,
    payload: &[u8],
    images: &[&[u8]],
    margin: i32,
) -> Result<Option<Fitted>, Error> {
    images
        .iter()
        .try_for_each(|image| network.check_pixels(image))?;
    let model = network.model();
    let golden: Vec<&[u8]> = (0..model.golden().images)
        .filter_map(|image| model.golden_pixels(image))
        .collect();
    let mut parts = Parts::of(model);
    parts.correct(payload);
    let mut layers = Vec::new();
    for (index, operation) in model.operations().enumerate() {
        let packed = parts.assemble()?;
        let current = IntegerNetwork::new(&packed)?;
        let Some(found) = histogram(current.model(), index, images) else {
            continue;
        };
        let clipped = found.clipped_permille();
        let reference = histogram(model, index, &golden);
        let usual = reference.map_or(0, |reference| reference.clipped_permille());
        let best = found.best();
        let eighths = best.eighths();
        tracing::debug!(layer = operation.name, clipped, usual, eighths, "range");
        let leaves = i64::from(clipped) - i64::from(usual) > margin.into();
        if leaves && eighths != 0 && parts.rescale(index, best) {
            layers.push(FittedLayer {
                name: operation.name.to_owned(),
                clipped_permille: clipped,
                eighths,
            });
        }
    }
    if layers.is_empty() {
        return Ok(None);
    }
    parts.forget_statistics();
    let packed = parts.finish()?;
    Ok(Some(Fitted { packed, layers }))
}

/// Where the values that `operation` writes lie; `None` if its range cannot be changed.
fn histogram(model: &Model<'_>, operation: usize, images: &[&[u8]]) -> Option<Histogram> {
    let mut batches = BatchNetwork::new(*model).ok()?;
    let empty = batches.bin(operation)?;
    let merge = |mut all: Histogram, part: Histogram| {
        all.merge(&part);
        all
    };
    let counted = images
        .par_chunks(IMAGES)
        .fold(
            || (empty, Workspace::default()),
            |(mut histogram, mut workspace), images| {
                batches.count(images, &mut workspace, operation, &mut histogram);
                (histogram, workspace)
            },
        )
        .map(|(histogram, _)| histogram);
    Some(counted.reduce(|| empty, merge))
}
