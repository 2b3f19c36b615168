//! How pixels become the input of a network.

use std::str::FromStr;

/// Pixels to network input: `(pixel / 255 - mean) / std` per channel.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Normalization {
    /// One number per channel.
    pub mean: Vec<f64>,
    /// One number per channel.
    pub std: Vec<f64>,
}

/// Name, mean and standard deviation of red, green and blue.
const NAMED: [(&str, [f64; 3], [f64; 3]); 4] = [
    (
        "cifar10",
        [0.4914, 0.4822, 0.4465],
        [0.2470, 0.2435, 0.2616],
    ),
    (
        "cifar100",
        [0.5071, 0.4867, 0.4408],
        [0.2675, 0.2565, 0.2761],
    ),
    ("imagenet", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ("none", [0.0; 3], [1.0; 3]),
];

/// Not a normalisation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown normalisation `{0}`; expected cifar10, cifar100, imagenet, none, or figures in the \
     form MEAN,MEAN,MEAN/STD,STD,STD"
)]
pub struct UnknownNormalization(String);

impl Normalization {
    /// `pixel / 255` for every channel.
    #[must_use]
    pub fn identity(channels: usize) -> Self {
        Self {
            mean: vec![0.0; channels],
            std: vec![1.0; channels],
        }
    }

    /// The input itself, `(pixel / 255 - mean) / std`.
    #[must_use]
    pub fn apply(&self, channel: usize, pixel: u8) -> f64 {
        (f64::from(pixel) / 255.0 - self.mean[channel]) / self.std[channel]
    }

    /// Whether inputs have about mean 0 and variance 1: pixels are divided by what those of pictures
    /// spread by, some quarter of their range, and not only scaled or left as they are.
    #[must_use]
    pub fn is_standard(&self) -> bool {
        self.std.iter().all(|std| (0.125..=0.5).contains(std))
    }

    /// Whether there is a usable pair of figures for each of `channels`.
    #[must_use]
    pub fn fits(&self, channels: usize) -> bool {
        self.mean.len() == channels
            && self.std.len() == channels
            && self.mean.iter().all(|mean| mean.is_finite())
            && self.std.iter().all(|std| std.is_finite() && *std > 0.0)
    }
}

/// A name (`cifar10`, `cifar100`, `imagenet`, `none`) or `MEAN,.../STD,...`.
impl FromStr for Normalization {
    type Err = UnknownNormalization;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = NAMED.iter().find(|(name, ..)| *name == text);
        if let Some((_, mean, std)) = named {
            return Ok(Self {
                mean: mean.to_vec(),
                std: std.to_vec(),
            });
        }
        let unknown = || UnknownNormalization(text.to_owned());
        let (mean, std) = text.split_once('/').ok_or_else(unknown)?;
        let numbers = |list: &str| {
            let numbers = list.split(',').map(|number| number.trim().parse().ok());
            numbers.collect::<Option<Vec<f64>>>().ok_or_else(unknown)
        };
        let normalization = Self {
            mean: numbers(mean)?,
            std: numbers(std)?,
        };
        let channels = normalization.mean.len();
        normalization
            .fits(channels)
            .then_some(normalization)
            .ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_figures_are_understood() {
        let imagenet: Normalization = "imagenet".parse().unwrap();
        let same: Normalization = "0.485,0.456,0.406/0.229, 0.224, 0.225".parse().unwrap();
        assert_eq!(imagenet, same);
        assert!((imagenet.apply(0, 255) - (1.0 - 0.485) / 0.229).abs() < 1e-12);
        for wrong in ["", "cifar", "1,2/1", "0.5/0", "0.5/x", "0.5/nan"] {
            assert!(wrong.parse::<Normalization>().is_err(), "{wrong}");
        }
    }
}
