//! Float operators with explicit forward and backward passes, and the executor of graphs.
//!
//! Data travels in candle tensors (`f32`, on the CPU); every operator takes the slices out once
//! and works on those. There is no autograd graph: the executor walks the network's own graph
//! backwards and asks every operator only for the gradients that somebody wants.

mod backward;
mod error;
mod evaluate;
pub mod executor;
mod forward;
pub mod ops;
mod supervised;
#[cfg(test)]
mod tests;
mod values;

pub use error::{Error, Result};
pub use evaluate::{evaluate, images};
pub use supervised::cross_entropy;
