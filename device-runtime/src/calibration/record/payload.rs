//! The layers that have new parameters.

use super::header::{halves, pair};
use super::{PARAMETER_BYTES, WRITE_UNIT};

pub(in crate::calibration) const LAYER_HEADER_BYTES: usize = 4;

/// The layers of a payload, one after the other.
#[derive(Debug, Clone)]
pub struct Payload<'a> {
    rest: &'a [u8],
}

impl<'a> Payload<'a> {
    /// The layers in `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What follows the layers so far; of a sound payload nothing follows the last.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// Bytes of a layer of a payload.
pub(in crate::calibration) fn layer_bytes(channels: u16) -> usize {
    let content = LAYER_HEADER_BYTES + usize::from(channels) * PARAMETER_BYTES;
    content.next_multiple_of(WRITE_UNIT)
}

/// New parameters of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer<'a> {
    /// Number of the operation.
    pub operation: u16,
    /// Per channel a multiplier (`i32`) and a bias (`i64`), [`PARAMETER_BYTES`] in all.
    pub parameters: &'a [u8],
}

impl<'a> Iterator for Payload<'a> {
    type Item = Layer<'a>;

    fn next(&mut self) -> Option<Layer<'a>> {
        let (operation, channels) = halves(*self.rest.first_chunk()?);
        let (layer, rest) = self.rest.split_at_checked(layer_bytes(channels))?;
        let parameters = usize::from(channels) * PARAMETER_BYTES;
        let parameters = layer.get(LAYER_HEADER_BYTES..)?.get(..parameters)?;
        self.rest = rest;
        Some(Layer {
            operation,
            parameters,
        })
    }
}

impl Layer<'_> {
    /// Number of channels.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.parameters.len() / PARAMETER_BYTES
    }

    /// Multiplier and bias of a channel; `None` behind the last.
    #[must_use]
    pub fn get(&self, channel: usize) -> Option<(i32, i64)> {
        let rest = self
            .parameters
            .get(channel.checked_mul(PARAMETER_BYTES)?..)?;
        let (multiplier, rest) = rest.split_first_chunk()?;
        let bias = rest.first_chunk()?;
        Some((i32::from_le_bytes(*multiplier), i64::from_le_bytes(*bias)))
    }

    /// The head of a layer in a payload.
    #[must_use]
    pub(in crate::calibration) fn head(operation: u16, channels: u16) -> [u8; LAYER_HEADER_BYTES] {
        pair(operation, channels)
    }

    /// The parameters of a channel in a payload.
    pub(in crate::calibration) fn channel(multiplier: i32, bias: i64) -> [u8; PARAMETER_BYTES] {
        let mut bytes = [0; PARAMETER_BYTES];
        let (first, second) = (multiplier.to_le_bytes(), bias.to_le_bytes());
        let content = first.iter().chain(&second);
        bytes
            .iter_mut()
            .zip(content)
            .for_each(|(to, from)| *to = *from);
        bytes
    }
}
