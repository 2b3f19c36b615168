//! Quantization after training, with images of the user: ranges from what the float network makes
//! of them. Needs no BatchNorm.

use crate::dfq::{Config, direct::Recipe, direct::Source};

/// The method under `config`.
#[must_use]
pub(super) fn recipe(config: &Config) -> Recipe {
    Recipe {
        images: Source::Given,
        ranges: config.range_rule(),
        stages: config.stages(),
    }
}
