//! Adaptive data-free quantization.

mod error;
pub mod quantizer;

#[cfg(test)]
mod golden;

pub use error::{Error, Result};
