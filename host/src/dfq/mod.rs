//! Adaptive data-free quantization (Qian, Wang, Hong, Wang; CVPR 2023): a quantized copy of a
//! network is trained on images that a generator makes up, with nothing known of the training data
//! but the statistics in the network's BatchNorms.
//!
//! ```text
//! noise, class ─▶ generator ─▶ images ─┬─▶ teacher (float, frozen) ──┐
//!      ▲                               └─▶ student (fake-quantized) ─┴─▶ losses on both logits
//!      └──────────────── Adam ◀──────────────────────┴── Nesterov ◀──────────┘
//! ```
//! [`Trainer`] plays the game, [`RunDirectory`] keeps what comes of it, a [`Watcher`] sees it
//! happen, [`FakeQuantized`] computes the result in floating point.

mod checkpoint;
pub mod config;
pub mod device;
pub mod direct;
pub mod entropies;
mod error;
pub mod events;
pub mod fake_quantized;
pub mod files;
pub mod generator;
pub mod images;
pub mod input_scale;
pub mod losses;
pub mod methods;
pub mod objective;
pub mod observer;
mod on_device;
pub mod optimizer;
pub mod quantizer;
pub mod random;
pub mod ranges;
pub mod refinement;
mod samples;
pub mod stages;
pub mod statistics;
pub mod student;
pub mod synthesis;
pub mod teacher;
pub mod trainer;

#[cfg(test)]
pub(crate) mod golden;

pub use config::{Bits, Config, Preset, Widths};
pub use error::{Error, Result};
pub use events::{Epoch, Evaluation, Iteration, Losses, Unwatched, Watcher};
pub use fake_quantized::FakeQuantized;
pub use files::RunDirectory;
pub use methods::Method;
pub use trainer::{Outcome, Trainer};

use crate::graph::{Graph, NodeId, ParameterName};

/// Name of a parameter: its node's with `.weight` or `.bias`.
fn parameter_key(graph: &Graph, (node, name): (NodeId, ParameterName)) -> String {
    format!("{}.{}", graph.nodes[node.0].name, name.suffix())
}
