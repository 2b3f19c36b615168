//! Operators on slices, one file each: a forward function and one backward function per gradient.
//! Images are `[batch, channels, height, width]`, row major.

pub mod activation;
pub mod batch_norm;
pub mod conv2d;
mod correlation;
pub mod linear;
mod matmul;
mod outer_product;
mod packed;
pub mod pool;
pub mod resample;

/// Runs `work` compiled for the vector instructions of this machine.
pub(crate) fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// Numbers that one vector register holds on the widest machine; sums are kept in that many lanes.
pub(crate) const LANES: usize = 16;

/// Sum in a fixed order that does not depend on the machine's vector length.
#[inline(always)]
pub(crate) fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().chain(rest).sum()
}

/// Sum of products in the same fixed order.
#[inline(always)]
pub(crate) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (left.as_chunks::<LANES>(), right.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            lanes[lane] = a[lane].mul_add(b[lane], lanes[lane]);
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}
