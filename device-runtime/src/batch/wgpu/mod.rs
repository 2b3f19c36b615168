//! Many images at once on a GPU, through Vulkan.
//!
//! The shaders lie in the top-level folder `shaders`, one file per operator; each gives the same
//! integers as the portable code, bit for bit. Weights stay packed in the GPU's memory. Buffers and
//! bindings are made once per model, and a batch is one command buffer: pixels go in, logits come
//! out, and nothing in between leaves the GPU.

mod adapter;
mod buffers;
mod clock;
mod device;
mod error;
mod network;
mod operators;
mod parameters;
mod peak;
mod program;
mod requantize;
#[cfg(test)]
mod tests;

pub use adapter::{Adapter, AdapterKind};
pub use device::Gpu;
pub use error::Error;
pub use network::GpuNetwork;
pub use peak::Peak;
