//! Adaptive data-free quantization.

pub mod config;
mod error;
pub mod losses;
pub mod observer;
pub mod optimizer;
pub mod quantizer;
pub mod statistics;

#[cfg(test)]
mod golden;

pub use error::{Error, Result};
