//! Why no widths can be suggested.

use crate::{dfq, lower, pack};

/// Result of a suggestion.
pub type Result<T> = std::result::Result<T, Error>;

/// Why no widths can be suggested.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The network is too large at any width.
    #[error("the packed file takes at least {least} bytes, more than the {target} wanted")]
    TooSmall {
        /// Bytes wanted.
        target: u64,
        /// Bytes with the least widths.
        least: u64,
    },
    /// The network cannot be quantized or measured.
    #[error(transparent)]
    Quantization(Box<dfq::Error>),
    /// The network has no integer form.
    #[error(transparent)]
    Lowering(Box<lower::Error>),
    /// The network cannot be packed.
    #[error(transparent)]
    Packing(Box<pack::Error>),
}

impl From<dfq::Error> for Error {
    fn from(error: dfq::Error) -> Self {
        Self::Quantization(Box::new(error))
    }
}

impl From<lower::Error> for Error {
    fn from(error: lower::Error) -> Self {
        Self::Lowering(Box::new(error))
    }
}

impl From<pack::Error> for Error {
    fn from(error: pack::Error) -> Self {
        Self::Packing(Box::new(error))
    }
}
