//! What training does between the networks, as chains of tensor operations, so that nothing has to
//! leave the device: quantizers, ranges that follow batches, the loss on BatchNorm statistics and
//! the optimizers. The rules are those of the modules of the same names, which work on slices.
//!
//! A pass over a network ends with one copy to main memory at most: its logits and, while ranges
//! follow the batches, the ranges.

mod activations;
mod optimizer;
mod quantizer;
mod statistics;
#[cfg(test)]
mod tests;

pub(super) use activations::{FollowedActivations, FrozenActivations};
pub(super) use optimizer::{AdamStep, FlatAdam, FlatNesterov};
pub(super) use quantizer::fake_quantize_weight;
pub(super) use statistics::{LayerMoments, batch_norm_loss};
