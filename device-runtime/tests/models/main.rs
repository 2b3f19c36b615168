//! Packed networks from end to end: file, check, engine and kernels.

mod hostile;
mod operators;
mod reading;
mod support;
#[cfg(all(feature = "wgpu", feature = "_test"))]
mod wgpu;
