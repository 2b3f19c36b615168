//! Bit widths as the user writes them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::dfq::{Error, Result};

/// Bit widths of the student, written `w4a4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bits {
    /// Of the weights of all convolutions and linear layers, 2 to 8.
    pub weights: u8,
    /// Of the activations behind every ReLU, 2 to 8.
    pub activations: u8,
}

impl FromStr for Bits {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let widths = || {
            let (weights, activations) = text.strip_prefix('w')?.split_once('a')?;
            Some((weights.parse::<u8>().ok()?, activations.parse::<u8>().ok()?))
        };
        match widths() {
            Some((weights @ 2..=8, activations @ 2..=8)) => Ok(Self {
                weights,
                activations,
            }),
            _ => Err(Error::BitsText(text.to_owned())),
        }
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}a{}", self.weights, self.activations)
    }
}

impl TryFrom<String> for Bits {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Bits> for String {
    fn from(bits: Bits) -> Self {
        bits.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_read_and_written() {
        let bits: Bits = "w3a8".parse().unwrap();
        assert_eq!((bits.weights, bits.activations), (3, 8));
        assert_eq!(bits.to_string(), "w3a8");
        for wrong in ["", "w4", "4a4", "w1a4", "w4a9", "w4a4 ", "a4w4"] {
            let error = wrong.parse::<Bits>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{wrong}`")), "{error}");
        }
    }
}
