//! Checkpoints to graphs.
