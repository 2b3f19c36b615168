//! Random networks with the results they must give.

#[cfg(all(feature = "std", feature = "_test"))]
mod batch;
mod file;
mod network;
mod random;
mod reference;

pub(crate) use file::{File, seal};
pub(crate) use network::{ConvCase, Element, Network, Shortcut};
pub(crate) use random::Random;
