//! Activation clipping by absolute peaks, and adaptive BatchNorm (He et al. 2022, arXiv
//! 2204.04215).
//!
//! Images are optimised from noise until the float network answers strongly, by the logit of their
//! class itself. The greatest activations on them are the upper ends of the ranges, whose lower
//! ends are 0. Then the student's BatchNorms follow what the images make of its layers. Nothing is
//! trained.

use crate::dfq::{Config, direct::Recipe, direct::Source, synthesis::Synthesis};

/// What differs from the settings of a preset.
#[must_use]
pub(super) fn settings(config: Config) -> Config {
    Config {
        synthesis: Synthesis {
            class_logit: 1.0,
            total_variation: 1.0,
            l2: 5.0,
            ..config.synthesis
        },
        batch_norm_batches: 20,
        ..config
    }
}

/// The method under `config`.
#[must_use]
pub(super) fn recipe(config: &Config) -> Recipe {
    Recipe {
        images: Source::Synthesis(config.synthesis),
        ranges: config.range_rule(),
        stages: config.stages(),
    }
}
