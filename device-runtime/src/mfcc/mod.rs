//! What a network for keywords hears: mel-frequency cepstral coefficients of a second of sound, in
//! integers, the same bytes on a board and on the host.
//!
//! This is the front end of MLPerf Tiny's keyword spotting: 16 kHz, divided by the largest sample;
//! windows of 30 ms (Hann, periodic) every 20 ms; magnitudes of a 512-point Fourier transform; 40
//! mel bands from 20 to 4000 Hz as of TensorFlow's `linear_to_mel_weight_matrix`; the natural
//! logarithm of band + 10^-6; the first 10 numbers of TensorFlow's `mfccs_from_log_mel_spectrograms`
//! (DCT-II times sqrt(2 / 40)); a byte each, cut off towards zero as the benchmark's own files are.
//!
//! | step | numbers |
//! | --- | --- |
//! | window | samples shifted until the loudest one of the window is 2^22 to 2^23, times Q30 |
//! | transform | 32 bits, which nothing can exceed: the window's weights add up to 240 |
//! | bands | 64 bits, weights in Q16 |
//! | logarithm | to base 2, in Q20, relative to the 10^-6, so that silence is exactly 0 |
//! | cosine transform | cosines in Q14, sums in 64 bits |

mod bands;
mod fourier;
mod tables;
#[cfg(test)]
mod tests;

use bands::{BANDS, Level};
use fourier::Spectrum;
use tables::{COSINES, LOG2_FRACTION, LOG2_MILLION, OCTAVE};

/// Samples per second.
pub const SAMPLE_RATE: usize = 16_000;
/// Samples of which features are made: one second.
pub const SAMPLES: usize = SAMPLE_RATE;
/// Windows in a second.
pub const FRAMES: usize = 1 + (SAMPLES - WINDOW) / STEP;
/// Numbers that a window gives.
pub const COEFFICIENTS: usize = 10;
/// Bytes of a second, window after window.
pub const FEATURES: usize = FRAMES * COEFFICIENTS;

const WINDOW: usize = 480;
const STEP: usize = 320;

/// Memory for [`features`], 2.5 KiB.
#[derive(Debug, Clone)]
pub struct Scratch {
    spectrum: Spectrum,
    bands: [u64; BANDS + 2],
    levels: [Level; BANDS],
}

impl Scratch {
    /// Its content does not matter.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            spectrum: [[0; 2]; fourier::POINTS],
            bands: [0; BANDS + 2],
            levels: [0; BANDS],
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// How coefficients become bytes: `coefficient = scale * (byte - zero_point)` with signed bytes,
/// which are stored plus 128.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantization {
    /// Steps of the output per octave in all bands at once, times 2^24; below 2^30.
    steps: i64,
    zero_point: i8,
}

impl Quantization {
    /// That of MLPerf Tiny's keyword spotting network: 0.5847029 and 83.
    pub const KEYWORDS: Self = match Self::new(9_809_687, 83) {
        Some(quantization) => quantization,
        None => unreachable!(),
    };

    /// `scale` is given times 2^24. `None` if it is below 1/256.
    #[must_use]
    pub const fn new(scale: u32, zero_point: i8) -> Option<Self> {
        if scale < 1 << 16 {
            return None;
        }
        Some(Self {
            steps: (OCTAVE / scale as u64) as i64,
            zero_point,
        })
    }

    /// `octaves` has `LOG2_FRACTION` bits behind the point and is below 2^32 in size.
    fn byte(self, octaves: i64) -> u8 {
        const FRACTION: u32 = 24 + LOG2_FRACTION;
        let exact = octaves * self.steps + (i64::from(self.zero_point) << FRACTION);
        let whole = exact / (1 << FRACTION);
        whole.clamp(i8::MIN.into(), i8::MAX.into()) as u8 ^ 0x80
    }
}

/// Writes the features of the first second of `samples`, at 16 kHz; what is missing is silent.
///
/// A sound whose largest sample is 0 or less is divided by the size of that sample, or by 1. (The
/// benchmark divides by the sample itself, and would get infinities of 0.)
pub fn features(
    samples: &[i16],
    quantization: Quantization,
    scratch: &mut Scratch,
    features: &mut [u8; FEATURES],
) {
    let samples = samples.get(..SAMPLES).unwrap_or(samples);
    let largest = samples.iter().copied().max().unwrap_or(0);
    let full_scale = largest.unsigned_abs().max(1);
    let frames = features.as_chunks_mut::<COEFFICIENTS>().0;
    for (frame, bytes) in frames.iter_mut().enumerate() {
        let window = samples.get(frame * STEP..).unwrap_or_default();
        let window = window.get(..WINDOW).unwrap_or(window);
        measure_levels(window, full_scale, scratch);
        for (index, (byte, cosines)) in bytes.iter_mut().zip(&COSINES).enumerate() {
            *byte = quantization.byte(coefficient(index, cosines, &scratch.levels));
        }
    }
}

/// Levels of all bands in at most [`WINDOW`] samples.
fn measure_levels(window: &[i16], full_scale: u16, scratch: &mut Scratch) {
    let loudest = window.iter().map(|sample| sample.unsigned_abs()).max();
    let loudest = loudest.unwrap_or(0);
    if loudest == 0 {
        scratch.levels.fill(0);
        return;
    }
    let shift = fourier::load(window, loudest, &mut scratch.spectrum);
    fourier::transform(&mut scratch.spectrum);
    bands::add_up(&scratch.spectrum, &mut scratch.bands);
    bands::levels(&scratch.bands, full_scale, shift, &mut scratch.levels);
}

/// Coefficient `index` before its factor, in octaves with `LOG2_FRACTION` bits behind the point.
/// `cosines` are those of the first half of the bands; the second half has the same, with opposite
/// sign if `index` is odd.
fn coefficient(index: usize, cosines: &[i16; BANDS / 2], levels: &[Level; BANDS]) -> i64 {
    let mirrored = levels.iter().rev();
    let pairs = cosines.iter().zip(levels.iter().zip(mirrored));
    let sum: i64 = if index.is_multiple_of(2) {
        pairs
            .map(|(&cosine, (low, high))| i64::from(cosine) * i64::from(low + high))
            .sum()
    } else {
        pairs
            .map(|(&cosine, (low, high))| i64::from(cosine) * i64::from(low - high))
            .sum()
    };
    let sum = sum >> tables::COSINE_FRACTION;
    if index == 0 {
        // The levels are relative to 10^-6 of full scale.
        sum - BANDS as i64 * LOG2_MILLION
    } else {
        sum
    }
}
