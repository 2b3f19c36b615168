//! The inner loop of all convolutions: rows of weights times patches.

/// Rows of weights per call.
pub(super) const CHANNELS: usize = 2;
/// Patches per call.
pub(super) const POSITIONS: usize = 2;

/// Sums of products of each patch (outer index) with each row of weights (inner index). All rows
/// are equally long, a multiple of [`TAP_ALIGNMENT`](super::TAP_ALIGNMENT).
#[cfg(not(any(lowbit_cortex_m_dsp, lowbit_x86_64_detect)))]
pub(super) use portable as block;

#[cfg(lowbit_cortex_m_dsp)]
pub(super) use super::cortex_m_dsp::dot_2x2 as block;

#[cfg(lowbit_x86_64_detect)]
pub(super) use super::x86_64::dot_2x2 as block;

/// The definition. Compilers turn it into multiply-add instructions of pairs where there are any.
#[cfg(not(lowbit_cortex_m_dsp))]
#[inline(always)]
pub(super) fn portable(
    weights: [&[i16]; CHANNELS],
    patches: [&[i16]; POSITIONS],
) -> [[i32; CHANNELS]; POSITIONS] {
    let mut sums = [[0i32; CHANNELS]; POSITIONS];
    let [first, second] = weights;
    let [left, right] = patches;
    for (((&w0, &w1), &p0), &p1) in first.iter().zip(second).zip(left).zip(right) {
        let weights = [i32::from(w0), i32::from(w1)];
        for (sums, patch) in sums.iter_mut().zip([p0, p1]) {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum = sum.wrapping_add(weight.wrapping_mul(patch.into()));
            }
        }
    }
    sums
}
