//! One run of the model in use.

use core::ops::Range;

use super::Platform;
use super::commands::WORD;
use super::facts::Unusable;
use super::observer::Watch;
use crate::calibration::Corrections;
use crate::engine::Engine;
use crate::format::Model;

/// What an inference led to.
pub(super) struct Inference {
    /// Its duration.
    pub(super) ticks: u64,
    /// The logits in the arena, little-endian.
    pub(super) logits: Range<usize>,
}

/// Runs the model in `bytes`, which has been checked when it became the one in use, with
/// `corrections` on the pixels in `arena`.
pub(super) fn infer<P: Platform>(
    bytes: &[u8],
    corrections: Corrections<'_>,
    arena: &mut [u8],
    watch: &mut Watch<'_, P>,
) -> Result<Inference, Unusable> {
    let model = Model::reopen(bytes).map_err(Unusable::Format)?;
    let engine = Engine::new(model, arena).map_err(Unusable::Engine)?;
    let mut engine = engine.with_corrections(corrections);
    let start = watch.begin();
    engine.run(watch);
    let ticks = watch.platform.ticks() - start - watch.ticks;
    let logits = logits_place(&model);
    let (words, _) = arena
        .get_mut(logits.clone())
        .unwrap_or_default()
        .as_chunks_mut::<WORD>();
    words
        .iter_mut()
        .for_each(|word| *word = i32::from_ne_bytes(*word).to_le_bytes());
    Ok(Inference { ticks, logits })
}

/// Where the logits are after an inference.
fn logits_place(model: &Model<'_>) -> Range<usize> {
    let output = model.operations().last().map(|operation| operation.output);
    let start = output.map_or(0, |output| output.offset as usize);
    start..start.saturating_add(usize::from(model.header().classes) * WORD)
}
