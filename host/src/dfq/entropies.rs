//! How the normalized entropies of the disagreement were distributed.

use serde::Serialize;

/// Buckets of equal width between 0 and 1.
pub const BUCKETS: usize = 20;

/// Counts of the normalized entropies `H'` of samples. One sample of every batch is the one with
/// the least entropy and has 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct EntropyHistogram {
    counts: [u64; BUCKETS],
}

impl EntropyHistogram {
    /// With these counts, from the lowest bucket.
    #[must_use]
    pub const fn from_counts(counts: [u64; BUCKETS]) -> Self {
        Self { counts }
    }

    /// From the lowest bucket.
    #[must_use]
    pub const fn counts(&self) -> &[u64; BUCKETS] {
        &self.counts
    }

    /// Adds a batch; what is no number is left out.
    pub fn add(&mut self, entropies: &[f64]) {
        for entropy in entropies.iter().filter(|entropy| entropy.is_finite()) {
            // A number below 0, by rounding, becomes 0.
            let bucket = (entropy * BUCKETS as f64) as usize;
            self.counts[bucket.min(BUCKETS - 1)] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_and_rounding_errors_have_a_bucket() {
        let mut histogram = EntropyHistogram::default();
        histogram.add(&[0.0, -1e-17, 0.049, 0.051, 0.999, 1.0, 1.0 + 1e-12, f64::NAN]);
        let counts = histogram.counts();
        assert_eq!((counts[0], counts[1], counts[19]), (3, 1, 3));
        assert_eq!(counts.iter().sum::<u64>(), 7);
        assert_eq!(EntropyHistogram::from_counts(*counts), histogram);
    }
}
