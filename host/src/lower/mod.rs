//! Lowering: a quantized graph becomes a program of integers.

mod program;

pub use program::{Blobs, Program, Step};
