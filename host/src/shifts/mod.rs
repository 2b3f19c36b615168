//! What a sensor does to images: documented corruptions at five severities, the same on every run.
//!
//! Pixels `x` lie between 0 and 1; results are clipped and rounded to bytes. Severities 1 to 5:
//!
//! | shift | definition | severities |
//! | --- | --- | --- |
//! | contrast | `(x - mean) c + mean`, mean over the whole image | c = .75 .5 .4 .25 .15 |
//! | brightness | `x + c` | c = .05 .1 .15 .2 .3 |
//! | gain | R, G, B times `1 - c`, `1`, `1 + c`; images of other channels times `1 - c` | c = .08 .16 .24 .32 .4 |
//! | noise | Gaussian of deviation c | c = .04 .06 .08 .1 .12 |
//! | blur | Gaussian of c pixels, 9 taps, mirrored borders | c = .4 .7 1 1.2 1.4 |
//! | fog | `c x + v` | c, v = .88 .09, .76 .18, .64 .27, .52 .36, .4 .45 |
//! | dark | `x` to the power c | c = 1.3 1.6 1.9 2.2 2.5 |
//! | shot | Poisson with `c x` expected photons | c = 500 250 100 75 50 |
//! | impulse | a share c of all values becomes 0 or 1 | c = .01 .02 .03 .05 .07 |
//! | motion | one-sided Gaussian along a direction of -45 to 45 degrees, radius and deviation | 6 1, 6 1.5, 6 2, 8 2, 9 2.5 |
//! | jpeg | JPEG of quality c | c = 80 65 58 50 40 |
//! | resolution | box-filtered to a share c of rows and columns, and back | c = .95 .9 .85 .75 .65 |
//!
//! Shot and impulse noise, motion blur, JPEG and resolution (its `pixelate`) are as CIFAR-10-C
//! defines them (Hendrycks and Dietterich 2019, arXiv 1903.12261); JPEG here without chroma
//! subsampling. The others are simpler than theirs: its contrast has a mean per channel, its
//! brightness works in HSV, and its fog is a fractal.

mod filters;
mod noise;

use std::fmt;
use std::str::FromStr;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::data::Dataset;

/// What happens to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corruption {
    /// Less contrast.
    Contrast,
    /// More light everywhere.
    Brightness,
    /// Channels of other sensitivity.
    Gain,
    /// Gaussian noise.
    Noise,
    /// Out of focus.
    Blur,
    /// A veil.
    Fog,
    /// Too little light.
    Dark,
    /// Few photons.
    Shot,
    /// Dead and hot pixels.
    Impulse,
    /// A moving camera.
    Motion,
    /// Lossy compression.
    Jpeg,
    /// Fewer pixels.
    Resolution,
}

/// A corruption with its severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shift {
    /// What happens.
    pub corruption: Corruption,
    /// How much, 1 to 5.
    pub severity: u8,
}

/// No shift of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown shift `{0}`; expected one of {names} with a severity of 1 to 5, e.g. `contrast:4`",
    names = names())]
pub struct UnknownShift(String);

fn names() -> String {
    Corruption::ALL.map(Corruption::name).join(", ")
}

impl Corruption {
    /// Every corruption.
    pub const ALL: [Self; 12] = [
        Self::Contrast,
        Self::Brightness,
        Self::Gain,
        Self::Noise,
        Self::Blur,
        Self::Fog,
        Self::Dark,
        Self::Shot,
        Self::Impulse,
        Self::Motion,
        Self::Jpeg,
        Self::Resolution,
    ];

    /// What a user calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Contrast => "contrast",
            Self::Brightness => "brightness",
            Self::Gain => "gain",
            Self::Noise => "noise",
            Self::Blur => "blur",
            Self::Fog => "fog",
            Self::Dark => "dark",
            Self::Shot => "shot",
            Self::Impulse => "impulse",
            Self::Motion => "motion",
            Self::Jpeg => "jpeg",
            Self::Resolution => "resolution",
        }
    }
}

impl FromStr for Corruption {
    type Err = UnknownShift;

    fn from_str(text: &str) -> Result<Self, UnknownShift> {
        let found = Self::ALL.into_iter().find(|known| known.name() == text);
        found.ok_or_else(|| UnknownShift(text.to_owned()))
    }
}

impl FromStr for Shift {
    type Err = UnknownShift;

    fn from_str(text: &str) -> Result<Self, UnknownShift> {
        let unknown = || UnknownShift(text.to_owned());
        let (corruption, severity) = text.split_once(':').ok_or_else(unknown)?;
        let severity = severity.parse().map_err(|_| unknown())?;
        if !(1..=5).contains(&severity) {
            return Err(unknown());
        }
        Ok(Self {
            corruption: corruption.parse().map_err(|_| unknown())?,
            severity,
        })
    }
}

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.corruption.name(), self.severity)
    }
}

/// An image of values from 0 to 1, row major, channels last.
struct Image {
    height: usize,
    width: usize,
    channels: usize,
    values: Vec<f32>,
}

impl Shift {
    /// The ten that integer calibration is compared with BatchNorm adaptation in floating point by.
    pub const TEN: [Self; 10] = {
        const fn of(corruption: Corruption, severity: u8) -> Shift {
            Shift {
                corruption,
                severity,
            }
        }
        [
            of(Corruption::Contrast, 4),
            of(Corruption::Contrast, 5),
            of(Corruption::Brightness, 5),
            of(Corruption::Gain, 5),
            of(Corruption::Noise, 3),
            of(Corruption::Noise, 5),
            of(Corruption::Blur, 3),
            of(Corruption::Blur, 5),
            of(Corruption::Fog, 5),
            of(Corruption::Dark, 5),
        ]
    };

    /// Applies it to every image of `dataset`. The same `seed` gives the same bytes; what happens to
    /// an image depends on its index, not on how many there are.
    #[must_use]
    pub fn apply(&self, dataset: &Dataset, seed: u64) -> Dataset {
        let bytes = dataset.shape.iter().product::<usize>().max(1);
        let [height, width, channels] = dataset.shape;
        let images = dataset.pixels.par_chunks_exact(bytes).enumerate();
        let pixels = images.flat_map_iter(|(index, pixels)| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(index as u64);
            let mut image = Image {
                height,
                width,
                channels,
                values: pixels
                    .iter()
                    .map(|pixel| f32::from(*pixel) / 255.0)
                    .collect(),
            };
            self.corrupt(&mut image, &mut rng);
            image.into_bytes()
        });
        Dataset {
            name: format!("{} {self}", dataset.name),
            pixels: pixels.collect(),
            ..dataset.clone()
        }
    }

    fn corrupt(&self, image: &mut Image, rng: &mut ChaCha8Rng) {
        let index = usize::from(self.severity.clamp(1, 5) - 1);
        let level = |levels: [f32; 5]| levels[index];
        match self.corruption {
            Corruption::Contrast => {
                let factor = level([0.75, 0.5, 0.4, 0.25, 0.15]);
                let mean = image.values.iter().sum::<f32>() / image.values.len().max(1) as f32;
                image.map(|x| (x - mean) * factor + mean);
            }
            Corruption::Brightness => {
                let more = level([0.05, 0.1, 0.15, 0.2, 0.3]);
                image.map(|x| x + more);
            }
            Corruption::Gain => {
                let step = level([0.08, 0.16, 0.24, 0.32, 0.4]);
                let gains: &[f32] = match image.channels {
                    3 => &[1.0 - step, 1.0, 1.0 + step],
                    _ => &[1.0 - step],
                };
                let gains = gains.iter().cycle();
                let values = image.values.iter_mut().zip(gains);
                values.for_each(|(x, gain)| *x *= gain);
            }
            Corruption::Fog => {
                let (left, veil) = [
                    (0.88, 0.09),
                    (0.76, 0.18),
                    (0.64, 0.27),
                    (0.52, 0.36),
                    (0.4, 0.45),
                ][index];
                image.map(|x| left * x + veil);
            }
            Corruption::Dark => {
                let power = level([1.3, 1.6, 1.9, 2.2, 2.5]);
                image.map(|x| x.powf(power));
            }
            Corruption::Noise => {
                noise::gaussian(image, level([0.04, 0.06, 0.08, 0.1, 0.12]), rng);
            }
            Corruption::Shot => {
                noise::shot(image, level([500.0, 250.0, 100.0, 75.0, 50.0]), rng);
            }
            Corruption::Impulse => {
                noise::impulse(image, level([0.01, 0.02, 0.03, 0.05, 0.07]), rng);
            }
            Corruption::Blur => filters::gaussian(image, level([0.4, 0.7, 1.0, 1.2, 1.4])),
            Corruption::Motion => {
                let radius = [6, 6, 6, 8, 9][index];
                filters::motion(image, radius, level([1.0, 1.5, 2.0, 2.0, 2.5]), rng);
            }
            Corruption::Jpeg => filters::jpeg(image, [80, 65, 58, 50, 40][index]),
            Corruption::Resolution => {
                filters::resolution(image, level([0.95, 0.9, 0.85, 0.75, 0.65]));
            }
        }
    }
}

impl Image {
    fn map(&mut self, function: impl Fn(f32) -> f32) {
        self.values.iter_mut().for_each(|x| *x = function(*x));
    }

    fn get(&self, y: usize, x: usize, channel: usize) -> f32 {
        self.values[(y * self.width + x) * self.channels + channel]
    }

    /// The same size, value by value.
    fn with(&self, value: impl Fn(usize, usize, usize) -> f32) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.values.len());
        for y in 0..self.height {
            for x in 0..self.width {
                values.extend((0..self.channels).map(|channel| value(y, x, channel)));
            }
        }
        values
    }

    fn bytes(&self) -> Vec<u8> {
        let byte = |x: &f32| (x.clamp(0.0, 1.0) * 255.0).round() as u8;
        self.values.iter().map(byte).collect()
    }

    fn into_bytes(self) -> Vec<u8> {
        self.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shapes::{Split, generate};

    #[test]
    fn names_are_read_and_written() {
        for shift in Shift::TEN {
            assert_eq!(shift.to_string().parse(), Ok(shift));
        }
        for wrong in ["contrast", "contrast:0", "contrast:6", "rain:1", ":1"] {
            let error = wrong.parse::<Shift>().unwrap_err().to_string();
            assert!(error.contains("resolution"), "{error}");
        }
    }

    /// Every shift changes the images, more with every severity, and the same on every run.
    #[test]
    fn severities_grow_and_repeat() {
        let data = generate(Split::Test, 24);
        for corruption in Corruption::ALL {
            let (mut first, mut last) = (None, 0.0);
            for severity in 1..=5 {
                let shift = Shift {
                    corruption,
                    severity,
                };
                let shifted = shift.apply(&data, 7);
                assert_eq!(shifted, shift.apply(&data, 7));
                let fewer = data.clone().take(5);
                let few = shift.apply(&fewer, 7);
                assert_eq!(few.pixels, shifted.pixels[..few.pixels.len()]);
                let pairs = shifted.pixels.iter().zip(&data.pixels);
                let squares = pairs.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
                let distance = squares.sum::<f64>();
                // Two severities of motion blur hardly differ.
                assert!(distance > 0.99 * last, "{shift}: {distance} after {last}");
                first = first.or(Some(distance));
                last = distance;
            }
            assert!(first < Some(last), "{}", corruption.name());
        }
    }

    #[test]
    fn simple_shifts_are_what_they_say() {
        let data = Dataset {
            name: "two".into(),
            shape: [1, 2, 3],
            classes: 1,
            pixels: vec![0, 51, 102, 153, 204, 255],
            labels: vec![0],
        };
        let shifted = |name: &str| name.parse::<Shift>().unwrap().apply(&data, 0).pixels;
        assert_eq!(shifted("brightness:5"), [77, 128, 179, 230, 255, 255]);
        assert_eq!(shifted("gain:5"), [0, 51, 143, 92, 204, 255]);
        assert_eq!(shifted("contrast:4"), [96, 108, 121, 134, 147, 159]);
        assert_eq!(shifted("fog:5"), [115, 135, 156, 176, 196, 217]);
    }
}
