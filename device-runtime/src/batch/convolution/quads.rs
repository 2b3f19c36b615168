//! Convolutions of 8-bit codes, four input channels at a time.
//!
//! With codes u, the zero point z of the input, and weights w = v + c whose shift c makes them fit 8
//! bits, the sum of (u + z) * w over all taps is
//! ```text
//! sum of u * v  +  c * sum of u  +  z * sum of w
//! ```
//! Around the image lie codes of the value 0.

use std::vec::Vec;

use super::source::{Layout, Source, Weights};
use crate::format::{Convolution, Storage};

/// What turns the products of a channel's codes and 8-bit weights into its sum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Correction {
    /// c
    pub(super) shift: i32,
    /// z * sum of w
    pub(super) constant: i32,
}

/// The corrections of all output channels.
#[derive(Debug)]
pub(super) struct Corrections {
    pub(super) channels: Vec<Correction>,
    /// Whether any shift is not 0.
    pub(super) are_shifted: bool,
    pub(super) zero_point: i32,
    /// 1 for each channel of the last quad of a pixel, 0 for what fills it up.
    pub(super) last_channels: [i8; 4],
}

/// Whether a convolution can be computed on codes: all output channels read all input channels, and
/// there is a code for the value 0.
pub(in crate::batch) fn suits(geometry: &Convolution) -> bool {
    let input = &geometry.input;
    matches!(input.storage, Storage::Code8 { .. })
        && geometry.groups <= 1
        && (-i32::from(u8::MAX)..=0).contains(&input.zero_point)
}

impl Source {
    /// Like [`pairs`](Self::pairs) for a convolution that [`suits`].
    pub(in crate::batch) fn quads(
        input: usize,
        geometry: &Convolution,
        [channels, together]: [usize; 2],
        rows: &[i16],
    ) -> Self {
        let zero_point = geometry.input.zero_point;
        let taps = (geometry.taps() as usize).max(1);
        let correction = |row: &[i16]| Correction::new(row, zero_point);
        let corrections: Vec<_> = rows.chunks_exact(taps).map(correction).collect();
        let layout = Layout::new(geometry, channels, rows);
        let inputs = usize::from(geometry.input.channels);
        // 0 for channels that do not exist.
        let weight = |channel: usize, tap, input| match corrections.get(channel) {
            Some(correction) if input < inputs => {
                let weight = i32::from(layout.weight(channel, tap, input));
                (weight - correction.shift) as i8
            }
            _ => 0,
        };
        let (tiles, weights) = layout.tiles::<4, i8>(together, weight);
        let corrections = Corrections {
            are_shifted: corrections.iter().any(|channel| channel.shift != 0),
            channels: corrections,
            zero_point,
            last_channels: [0, 1, 2, 3].map(|index| (index <= (inputs + 3) % 4).into()),
        };
        let weights = Weights::Quads(weights, corrections);
        Self::new(input, geometry, together, tiles, weights)
    }
}

impl Correction {
    /// The weights of a channel span at most 256 numbers, as their codes have 8 bits.
    fn new(row: &[i16], zero_point: i32) -> Self {
        let weights = || row.iter().copied().map(i32::from);
        let low = weights().min().unwrap_or(0);
        let high = weights().max().unwrap_or(0);
        let fits = low >= i8::MIN.into() && high <= i8::MAX.into();
        // Modulo 2^32 like the sums that it is added to, whose total is the accumulator, which fits.
        let sum = weights().fold(0i32, i32::wrapping_add);
        Self {
            shift: if fits { 0 } else { low - i32::from(i8::MIN) },
            constant: sum.wrapping_mul(zero_point),
        }
    }
}
