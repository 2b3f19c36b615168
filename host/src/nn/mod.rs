//! Float operators with explicit forward and backward passes, and the executor of graphs.
//!
//! Data travels in candle tensors of `f32`. There is no autograd graph: the executor walks the
//! network's own graph backwards and asks every operator only for the gradients that somebody
//! wants. On the CPU every operator takes the slices out of the tensors once and works on those
//! (`ops`); elsewhere it is a chain of candle's operations (`composed`). A graph's placement says
//! which.

mod backward;
mod composed;
mod error;
mod evaluate;
pub mod executor;
mod forward;
pub mod ops;
mod supervised;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use error::without_backtrace;
pub use error::{Error, Result};
pub use evaluate::{evaluate, images, logits};
pub use supervised::cross_entropy;
