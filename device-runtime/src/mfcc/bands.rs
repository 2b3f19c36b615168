//! Mel bands and their levels.

use super::fourier::{Spectrum, magnitudes};
use super::tables::{LOG2, LOG2_FRACTION, LOG2_MILLION, MEL, MEL_FRACTION};

/// Number of bands.
pub(super) const BANDS: usize = 40;

/// Octaves above 10^-6 of full scale, with [`LOG2_FRACTION`] bits behind the point; -2^16 to 2^26.
pub(super) type Level = i32;

/// Adds up the magnitudes in each band, with [`MEL_FRACTION`] more bits behind the point than the
/// spectrum has. Band `i` is `bands[i + 1]`; the first and the last number belong to no band.
///
/// Between the middles of two bands the weights of both add up to 1.
pub(super) fn add_up(spectrum: &Spectrum, bands: &mut [u64; BANDS + 2]) {
    bands.fill(0);
    for (magnitude, position) in magnitudes(spectrum).zip(MEL) {
        let rising = position % (1 << MEL_FRACTION);
        let falling = (1 << MEL_FRACTION) - rising;
        let edge = (position >> MEL_FRACTION) as usize;
        if let Some([below, above]) = bands.get_mut(edge..).and_then(<[u64]>::first_chunk_mut) {
            *below += u64::from(magnitude) * u64::from(falling);
            *above += u64::from(magnitude) * u64::from(rising);
        }
    }
}

/// Levels of bands that [`add_up`] made of samples that were shifted to the left by `shift`.
pub(super) fn levels(
    bands: &[u64; BANDS + 2],
    full_scale: u16,
    shift: u32,
    levels: &mut [Level; BANDS],
) {
    let fraction = shift + MEL_FRACTION;
    let floor = (u64::from(full_scale) << fraction) / 1_000_000;
    let reference = i64::from(log2(full_scale.into())) - LOG2_MILLION;
    let reference = reference + i64::from(fraction << LOG2_FRACTION);
    for (level, &band) in levels.iter_mut().zip(&bands[1..]) {
        *level = (i64::from(log2(band + floor)) - reference) as i32;
    }
}

/// The binary logarithm with [`LOG2_FRACTION`] bits behind the point; that of 0 is 0. Wrong by at
/// most 0.00005.
fn log2(value: u64) -> u32 {
    let whole = value.checked_ilog2().unwrap_or(0);
    // Behind the leading one.
    let fraction = ((value << (63 - whole) << 1) >> 32) as u32;
    const INDEX_BITS: u32 = (LOG2.len() - 1).ilog2();
    let index = (fraction >> (u32::BITS - INDEX_BITS)) as usize;
    let between = (fraction << INDEX_BITS) >> 16;
    let Some(&[low, high]) = LOG2.get(index..).and_then(<[u32]>::first_chunk) else {
        return 0;
    };
    (whole << LOG2_FRACTION) + low + (((high - low) * between) >> 16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn logarithms_are_right(value in 1..=u64::MAX, shift in 0u32..64) {
            let value = (value >> shift).max(1);
            let exact = (value as f64).log2();
            let ours = f64::from(log2(value)) / f64::from(1 << LOG2_FRACTION);
            prop_assert!((ours - exact).abs() < 5e-5, "log2({value}) = {exact}, not {ours}");
        }
    }
}
