//! Operators on slices, one file each: a forward function and one backward function per gradient.
//! Images are `[batch, channels, height, width]`, row major.

pub mod activation;
pub mod batch_norm;
mod buffer;
pub mod conv2d;
mod correlation;
mod depthwise;
pub mod instructions;
pub mod linear;
mod matmul;
mod outer_product;
mod packed;
pub mod pool;
pub mod resample;
mod slices;
mod transpose;
pub mod upsampled_conv2d;

/// Runs `work` compiled for the vector instructions of this machine.
pub(crate) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    instructions::arch().dispatch(work)
}
