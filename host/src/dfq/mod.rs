//! Adaptive data-free quantization.

mod checkpoint;
pub mod config;
mod error;
pub mod events;
pub mod fake_quantized;
pub mod files;
pub mod generator;
pub mod losses;
pub mod observer;
pub mod optimizer;
pub mod quantizer;
pub mod random;
pub mod statistics;
pub mod student;
pub mod teacher;
pub mod trainer;

#[cfg(test)]
mod golden;

pub use config::{Bits, Config, Preset};
pub use error::{Error, Result};
pub use events::{Epoch, Evaluation, Iteration, Losses, Unwatched, Watcher};
pub use fake_quantized::FakeQuantized;
pub use files::RunDirectory;
pub use trainer::{Outcome, Trainer};

use crate::graph::{Graph, NodeId, ParameterName};

/// Name of a parameter: its node's with `.weight` or `.bias`.
fn parameter_key(graph: &Graph, (node, name): (NodeId, ParameterName)) -> String {
    format!("{}.{}", graph.nodes[node.0].name, name.suffix())
}
