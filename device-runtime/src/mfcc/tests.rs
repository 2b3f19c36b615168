//! Against TensorFlow's definition of the front end, in floating point.

use core::f64::consts::PI;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const BINS: usize = 257;

/// TensorFlow's definitions, literally, in f64.
struct Definition {
    window: Vec<f64>,
    /// Cosine and sine of `2 pi n / 512`.
    turns: Vec<(f64, f64)>,
    /// Weight of every bin in every band.
    mel: Vec<[f64; BANDS]>,
}

impl Definition {
    fn new() -> Self {
        let turn = |n: usize| 2.0 * PI * n as f64 / 512.0;
        Self {
            window: (0..WINDOW)
                .map(|n| 0.5 - 0.5 * (2.0 * PI * n as f64 / WINDOW as f64).cos())
                .collect(),
            turns: (0..512).map(|n| (turn(n).cos(), turn(n).sin())).collect(),
            mel: linear_to_mel_weight_matrix(),
        }
    }

    /// Coefficients of every window.
    fn coefficients(&self, samples: &[i16]) -> Vec<[f64; COEFFICIENTS]> {
        let largest = samples.iter().copied().max().unwrap_or(0);
        let full_scale = f64::from(largest).abs().max(1.0);
        let mut sound: Vec<f64> = samples.iter().map(|&x| f64::from(x) / full_scale).collect();
        sound.resize(SAMPLES, 0.0);
        let frames = (0..FRAMES).map(|frame| self.frame(&sound[frame * STEP..][..WINDOW]));
        frames.collect()
    }

    fn frame(&self, samples: &[f64]) -> [f64; COEFFICIENTS] {
        let weighted: Vec<f64> = samples
            .iter()
            .zip(&self.window)
            .map(|(x, w)| x * w)
            .collect();
        let mut bands = [0.0; BANDS];
        for (bin, weights) in self.mel.iter().enumerate() {
            // Saves the time of what has no weight.
            if weights.iter().all(|&weight| weight == 0.0) {
                continue;
            }
            let (mut re, mut im) = (0.0, 0.0);
            for (n, sample) in weighted.iter().enumerate() {
                let (cosine, sine) = self.turns[n * bin % 512];
                re += sample * cosine;
                im -= sample * sine;
            }
            let magnitude = f64::hypot(re, im);
            for (band, weight) in bands.iter_mut().zip(weights) {
                *band += magnitude * weight;
            }
        }
        mfccs_from_log_mel_spectrograms(&bands.map(|band| (band + 1e-6).ln()))
    }
}

fn linear_to_mel_weight_matrix() -> Vec<[f64; BANDS]> {
    let mel = |hertz: f64| 1127.0 * (1.0 + hertz / 700.0).ln();
    let (lowest, highest) = (mel(20.0), mel(4000.0));
    let edge = |n: usize| lowest + (highest - lowest) * n as f64 / (BANDS + 1) as f64;
    let weights = |bin: usize| {
        core::array::from_fn(|band| {
            let at = mel(8000.0 * bin as f64 / (BINS - 1) as f64);
            let rising = (at - edge(band)) / (edge(band + 1) - edge(band));
            let falling = (edge(band + 2) - at) / (edge(band + 2) - edge(band + 1));
            // The bin at 0 Hz is left out.
            if bin == 0 {
                0.0
            } else {
                rising.min(falling).max(0.0)
            }
        })
    };
    (0..BINS).map(weights).collect()
}

fn mfccs_from_log_mel_spectrograms(log_mel: &[f64; BANDS]) -> [f64; COEFFICIENTS] {
    core::array::from_fn(|k| {
        let terms = log_mel.iter().enumerate().map(|(n, log)| {
            2.0 * log * (PI * k as f64 * (2 * n + 1) as f64 / (2 * BANDS) as f64).cos()
        });
        terms.sum::<f64>() / ((2 * BANDS) as f64).sqrt()
    })
}

/// As the benchmark's files are made: numpy's conversion cuts off. What is a whole number but for
/// the errors of floating point, as silence is, counts as one.
fn quantized(coefficient: f64) -> u8 {
    let steps = coefficient / 0.584_702_908_992_767_3 + 83.0;
    let steps = (steps * 1e9).round() / 1e9;
    (steps.trunc().clamp(-128.0, 127.0) + 128.0) as u8
}

fn ours(samples: &[i16]) -> [u8; FEATURES] {
    let mut bytes = [0; FEATURES];
    features(
        samples,
        Quantization::KEYWORDS,
        &mut Scratch::new(),
        &mut bytes,
    );
    bytes
}

fn sound(sample: impl Fn(f64) -> f64) -> Vec<i16> {
    // Numbers that are too large are clipped.
    let at = |n: usize| sample(n as f64 / SAMPLE_RATE as f64).round() as i16;
    (0..SAMPLES).map(at).collect()
}

fn tone(hertz: f64, amplitude: f64) -> Vec<i16> {
    sound(|second| amplitude * (2.0 * PI * hertz * second).sin())
}

/// Of up to 8 kHz.
fn chirp(amplitude: f64) -> Vec<i16> {
    sound(|second| amplitude * (PI * 8000.0 * second * second).sin())
}

fn noise(seed: u64, amplitude: f64) -> Vec<i16> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as f64 / (1u64 << 30) as f64 - 1.0
    };
    (0..SAMPLES)
        .map(|_| (amplitude * next()).round() as i16)
        .collect()
}

/// Like speech: bursts of a buzzing voice between quiet noise.
fn voice(pitch: f64, amplitude: f64) -> Vec<i16> {
    let hiss = noise(7, 3.0);
    let buzz = sound(|second| {
        let envelope = (2.0 * PI * 3.0 * second).sin().max(0.0).powi(2);
        let tones = (1..20).map(|n| {
            let hertz = pitch * f64::from(n);
            let formant = (-((hertz - 700.0) / 400.0).powi(2)).exp()
                + 0.3 * (-((hertz - 2300.0) / 500.0).powi(2)).exp();
            formant * (2.0 * PI * hertz * second).sin()
        });
        amplitude * envelope * tones.sum::<f64>()
    });
    buzz.iter()
        .zip(hiss)
        .map(|(a, b)| a.saturating_add(b))
        .collect()
}

fn sounds() -> Vec<(&'static str, Vec<Vec<i16>>)> {
    let amplitudes = [2.0, 100.0, 5000.0, 32767.0];
    let mut impulse = std::vec![0; SAMPLES];
    impulse[5] = 1;
    impulse[4000] = -1;
    impulse[9001] = 20_000;
    let mut step = std::vec![i16::MIN; SAMPLES];
    step[8000..].fill(i16::MAX);
    std::vec![
        (
            "tones",
            [20.0, 31.25, 440.0, 1000.0, 3999.0, 7000.0]
                .iter()
                .flat_map(|&hertz| amplitudes.map(|amplitude| tone(hertz, amplitude)))
                .collect(),
        ),
        ("chirps", amplitudes.map(chirp).to_vec()),
        ("noise", amplitudes.map(|a| noise(1, a)).to_vec()),
        (
            "voices",
            [90.0, 140.0, 230.0].map(|p| voice(p, 9000.0)).to_vec()
        ),
        (
            "clipped",
            [300.0, 2500.0].map(|hertz| tone(hertz, 200_000.0)).to_vec()
        ),
        ("smallest", (2..6).map(|seed| noise(seed, 1.0)).collect()),
        ("impulses", std::vec![impulse]),
        ("steps", std::vec![step, std::vec![i16::MIN; SAMPLES]]),
        (
            "short",
            std::vec![noise(8, 900.0)[..7001].to_vec(), std::vec![-3; 100]]
        ),
        ("silence", std::vec![std::vec![0; SAMPLES], Vec::new()]),
    ]
}

#[test]
fn features_are_those_of_tensorflow() {
    let definition = Definition::new();
    let (mut all, mut equal) = (0, 0);
    for (name, clips) in sounds() {
        for (index, clip) in clips.iter().enumerate() {
            let exact = definition.coefficients(clip);
            let exact = exact.iter().flatten();
            let distances = ours(clip)
                .into_iter()
                .zip(exact)
                .map(|(byte, &coefficient)| byte.abs_diff(quantized(coefficient)));
            for distance in distances {
                assert!(distance <= 1, "{name}, sound {index}: {distance} steps");
                all += 1;
                equal += u32::from(distance == 0);
            }
        }
    }
    assert!(equal >= all - all / 50, "{equal} of {all} are equal");
}

#[test]
fn silence_is_as_in_the_benchmark() {
    // The lowest byte, then zero points.
    let bytes = ours(&[]);
    for frame in bytes.as_chunks::<COEFFICIENTS>().0 {
        assert_eq!(frame[0], 0);
        assert_eq!(frame[1..], [83 + 128; COEFFICIENTS - 1]);
    }
}

#[test]
fn scales_that_are_too_fine_are_refused() {
    assert_eq!(Quantization::new((1 << 16) - 1, 0), None);
    let finest = Quantization::new(1 << 16, 0).unwrap();
    let mut bytes = [0; FEATURES];
    features(
        &tone(500.0, 9000.0),
        finest,
        &mut Scratch::new(),
        &mut bytes,
    );
    assert!(bytes.contains(&0) && bytes.contains(&255));
}

/// Sounds at the limits: only extreme samples, or anything.
fn samples() -> impl Strategy<Value = Vec<i16>> {
    let extremes = prop::sample::select(std::vec![i16::MIN, i16::MAX, 0, -1, 1]);
    let extremes = prop::collection::vec(extremes, 0..SAMPLES + 100);
    // Square waves, which put all that there is into one number of the transform.
    let square = (1usize..600, 0usize..600).prop_map(|(period, phase)| {
        let high = |n: usize| ((n + phase) / period).is_multiple_of(2);
        (0..SAMPLES)
            .map(|n| if high(n) { i16::MAX } else { i16::MIN })
            .collect()
    });
    prop_oneof![
        extremes,
        square,
        prop::collection::vec(any::<i16>(), 0..SAMPLES + 100),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// With debug assertions, nothing overflows.
    #[test]
    fn any_sound_has_features(samples in samples(), scale in 1u32 << 16.., zero_point: i8) {
        let quantization = Quantization::new(scale, zero_point).unwrap();
        let mut bytes = [0; FEATURES];
        features(&samples, quantization, &mut Scratch::new(), &mut bytes);
        // Earlier work leaves nothing behind.
        let mut scratch = Scratch::new();
        let mut again = [1; FEATURES];
        features(&[i16::MAX; 480], quantization, &mut scratch, &mut again);
        features(&samples, quantization, &mut scratch, &mut again);
        prop_assert_eq!(bytes, again);
    }
}
