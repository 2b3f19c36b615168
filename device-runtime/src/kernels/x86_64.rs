//! The portable inner loop compiled for processors with AVX2, twice as wide as the minimum.
#![expect(unsafe_code, reason = "functions for processors with AVX2")]

use super::dot::{CHANNELS, POSITIONS, portable};

/// The same sums as [`portable`].
pub(super) fn dot_2x2(
    weights: [&[i16]; CHANNELS],
    patches: [&[i16]; POSITIONS],
) -> [[i32; CHANNELS]; POSITIONS] {
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { dot_2x2_avx2(weights, patches) };
    }
    portable(weights, patches)
}

#[target_feature(enable = "avx2")]
fn dot_2x2_avx2(
    weights: [&[i16]; CHANNELS],
    patches: [&[i16]; POSITIONS],
) -> [[i32; CHANNELS]; POSITIONS] {
    portable(weights, patches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_the_portable_loop(
            rows in (0usize..20).prop_flat_map(|groups| {
                proptest::collection::vec(proptest::collection::vec(-4500i16..4500, 8 * groups), 4)
            })
        ) {
            let weights = [rows[0].as_slice(), rows[1].as_slice()];
            let patches = [rows[2].as_slice(), rows[3].as_slice()];
            prop_assert_eq!(dot_2x2(weights, patches), portable(weights, patches));
        }
    }
}
