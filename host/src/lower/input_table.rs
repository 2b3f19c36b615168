//! Pixels to integers by a table, so that the board needs no arithmetic on them.

use crate::graph::Normalization;

/// The table and what its entries stand for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InputTable {
    /// `entries[pixel * channels + channel]`.
    pub(super) entries: Vec<i16>,
    /// Entries per real unit.
    pub(super) scale: f64,
}

impl InputTable {
    /// Spreads the largest normalised pixel over `bits` bits, sign included. The real value 0 is
    /// the entry 0, so that padding is exact.
    pub(super) fn new(normalization: &Normalization, bits: u8) -> Self {
        let channels = normalization.mean.len();
        let value = |index: usize| {
            let (pixel, channel) = ((index / channels) as f64, index % channels);
            (pixel / 255.0 - normalization.mean[channel]) / normalization.std[channel]
        };
        let values = (0..256 * channels).map(value).collect::<Vec<_>>();
        let largest = values
            .iter()
            .fold(0f64, |largest, value| largest.max(value.abs()));
        let scale = f64::from((1i32 << (bits - 1)) - 1) / largest.max(1e-8);
        let entries = values
            .iter()
            .map(|value| (scale * value + 0.5).floor() as i16)
            .collect();
        Self { entries, scale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_within_half_a_step() {
        let normalization = Normalization {
            mean: vec![0.485, 0.4],
            std: vec![0.229, 0.3],
        };
        for bits in [8, 12] {
            let table = InputTable::new(&normalization, bits);
            assert!(
                table
                    .entries
                    .iter()
                    .all(|entry| entry.abs() < 1 << (bits - 1))
            );
            for (index, &entry) in table.entries.iter().enumerate() {
                let (pixel, channel) = ((index / 2) as f64, index % 2);
                let exact =
                    (pixel / 255.0 - normalization.mean[channel]) / normalization.std[channel];
                assert!(
                    (f64::from(entry) / table.scale - exact).abs() <= 0.5 / table.scale + 1e-12
                );
            }
        }
    }
}
