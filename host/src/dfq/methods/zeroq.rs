//! Ranges from images whose statistics are those of the training data (Cai et al.: ZeroQ, CVPR
//! 2020), without its search for the widths of layers. Nothing is trained.

use crate::dfq::{Config, direct::Recipe, direct::Source, synthesis::Synthesis};

/// What differs from the settings of a preset.
#[must_use]
pub(super) fn settings(config: Config) -> Config {
    Config {
        synthesis: Synthesis {
            statistics: 1.0,
            ..config.synthesis
        },
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
