//! What a request wants to know about the operations of an inference.

use core::ops::ControlFlow;

use crate::engine::{Observer, TensorView};
use crate::format::Operation;

use super::Platform;

/// One observer for all requests, so that the engine is compiled once.
pub(super) enum Wanted<'r> {
    /// The checksum of every output, 4 bytes each, as many as there is room for.
    Digests(&'r mut [u8]),
    /// The duration of every operation, 4 bytes each, as many as there is room for.
    Ticks {
        into: &'r mut [u8],
        /// When the operation began.
        since: u64,
    },
    /// A part of one output.
    Layer {
        layer: usize,
        offset: usize,
        into: &'r mut [u8],
        found: Option<LayerPart>,
    },
}

/// What was copied of an output.
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerPart {
    /// Bytes of the whole output.
    pub(super) length: usize,
    /// Bytes copied.
    pub(super) copied: usize,
}

/// Answers what is wanted and keeps account of the time that this takes.
pub(super) struct Watch<'r, P> {
    pub(super) wanted: Wanted<'r>,
    pub(super) platform: &'r mut P,
    pub(super) ticks: u64,
}

impl<P: Platform> Watch<'_, P> {
    /// Starts the measurement; returns when.
    pub(super) fn begin(&mut self) -> u64 {
        self.platform.begin_measurement();
        let start = self.platform.ticks();
        if let Wanted::Ticks { since, .. } = &mut self.wanted {
            *since = start;
        }
        start
    }
}

impl<P: Platform> Observer for Watch<'_, P> {
    fn observe(
        &mut self,
        index: usize,
        _: &Operation<'_>,
        output: &TensorView<'_>,
    ) -> ControlFlow<()> {
        match &mut self.wanted {
            Wanted::Digests(digests) => {
                let (places, _) = digests.as_chunks_mut::<4>();
                if let Some(place) = places.get_mut(index) {
                    let start = self.platform.ticks();
                    *place = output.digest().to_le_bytes();
                    self.ticks += self.platform.ticks() - start;
                }
                ControlFlow::Continue(())
            }
            Wanted::Ticks { into, since } => {
                let now = self.platform.ticks();
                let ticks = u32::try_from(now - *since).unwrap_or(u32::MAX);
                let (places, _) = into.as_chunks_mut::<4>();
                if let Some(place) = places.get_mut(index) {
                    *place = ticks.to_le_bytes();
                }
                *since = now;
                ControlFlow::Continue(())
            }
            Wanted::Layer {
                layer,
                offset,
                into,
                found,
            } => {
                if index != *layer {
                    return ControlFlow::Continue(());
                }
                *found = Some(LayerPart {
                    length: output.canonical_bytes(),
                    copied: output.read_canonical(*offset, into),
                });
                ControlFlow::Break(())
            }
        }
    }
}
