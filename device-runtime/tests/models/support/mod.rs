//! Random networks with the results they must give.

#[cfg(all(feature = "std", feature = "_test"))]
mod batch;
mod calibration;
mod file;
mod network;
mod random;
mod reference;

#[cfg(all(feature = "wgpu", feature = "_test"))]
pub(crate) use batch::{engine_outputs, turned_images};
pub(crate) use file::{File, seal};
pub(crate) use network::{ConvCase, Element, Network, Shortcut};
pub(crate) use random::Random;
