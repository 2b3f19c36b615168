//! Probabilities in integers, for people and other programs; the network itself has none.

/// Bits of the fraction of `exp`.
const FRACTION: u32 = 30;

/// The softmax of logits in units of 2^-16, in thousandths.
pub(super) fn thousandths(
    logits: impl Iterator<Item = i32> + Clone,
) -> impl Iterator<Item = u32> + Clone {
    let largest = logits.clone().max().unwrap_or_default();
    let exponentials = logits.map(move |logit| exp(logit.abs_diff(largest)));
    let sum: u64 = exponentials.clone().sum();
    exponentials.map(move |value| ((value * 1000 + sum / 2) / sum.max(1)) as u32)
}

/// `2^30 e^(-x / 2^16)`, to within two parts in 10 000.
#[inline(never)]
fn exp(x: u32) -> u64 {
    /// `log2(e)` in 2^-16.
    const LOG2_E: u64 = 94_548;
    let x = (u64::from(x) * LOG2_E) >> 16;
    let (halvings, fraction) = ((x >> 16) as u32, x & 0xffff);
    // 2^-f = 1 + f (c1 + f (c2 + f c3)), exact at both ends.
    const C: [i64; 3] = [-742_598_100, 248_207_216, -42_480_028];
    let fraction = fraction as i64;
    let polynomial = C
        .iter()
        .rev()
        .fold(0, |sum, &c| ((sum + c) * fraction) >> 16);
    let value = (1 << FRACTION) + polynomial;
    (value as u64).checked_shr(halvings).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn exponentials_are_near(x: u32) {
            for x in [x, x >> 8, x >> 14, x >> 20] {
                let exact = (-f64::from(x) / 65536.0).exp();
                let found = exp(x) as f64 / f64::from(1u32 << FRACTION);
                prop_assert!((found - exact).abs() < 2e-4, "{x}: {found} instead of {exact}");
            }
        }

        #[test]
        fn probabilities_add_up(logits in prop::collection::vec(any::<i32>(), 1..100)) {
            let found: u32 = thousandths(logits.iter().copied()).sum();
            prop_assert!(found.abs_diff(1000) <= logits.len() as u32 / 2 + 1, "{found}");
        }
    }

    #[test]
    fn the_largest_logit_is_the_most_probable() {
        let logits = [-65536, 65536, 0];
        let found: Vec<_> = thousandths(logits.into_iter()).collect();
        assert_eq!(found, [90, 665, 245]);
        assert_eq!(
            thousandths([i32::MIN, i32::MAX].into_iter()).max(),
            Some(1000)
        );
    }
}
