//! Whole networks: float accuracy of published checkpoints, and the integer network against the
//! fake-quantized one.

mod agreement;
mod compared;
mod dead_channels;
mod files;
mod float;
mod operators;
mod small;
