//! Pictures: samples as PNG, curves and the plan of a model's memory as SVG, and a run or a
//! verification as one page.

mod bars;
mod curves;
mod entropies;
mod grid;
mod layers;
mod matrix;
mod memory;
mod page;

pub use bars::{Bar, Bars};
pub use curves::{Curve, Panel, write_curves};
pub use entropies::EntropyColumn;
pub use grid::{Grid, write_grid};
pub use layers::{LayerWeights, activation_ranges, layer_weights};
pub use matrix::Matrix;
pub use memory::write_memory;
pub use page::{Figure, Section, write_page};

use std::path::PathBuf;

/// Why a picture was not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The encoder or the file system refused.
    #[error("cannot write the picture `{path}`: {reason}")]
    Picture {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
}

impl Error {
    fn picture(path: &std::path::Path, reason: impl std::fmt::Display) -> Self {
        Self::Picture {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}
