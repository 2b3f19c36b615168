//! A board's own source of inputs.

use crate::protocol::{SensorFault, SensorInput};

/// Where a board gets inputs from by itself: a camera, or a stream that was recorded.
pub trait Sensor {
    /// Writes an input to `pixels`: as many rows, columns and channels as `shape` says, channels
    /// last, one byte each. Returns how many further ones a recorded stream has, `None` if there is
    /// always another.
    ///
    /// # Errors
    /// If the stream is over, its inputs have another size, or the device fails.
    fn sense(
        &mut self,
        input: SensorInput,
        shape: [u16; 3],
        pixels: &mut [u8],
    ) -> Result<Option<u32>, SensorFault>;
}

/// Where a recorded stream is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Position {
    /// Inputs up to the present one.
    taken: u32,
}

impl Position {
    /// The number, from 0, of the input that is asked for next of a stream of `count`, and how many
    /// come behind it.
    ///
    /// # Errors
    /// If there is no such input.
    pub fn advance(&mut self, input: SensorInput, count: u32) -> Result<(u32, u32), SensorFault> {
        let taken = match input {
            SensorInput::First => 1,
            SensorInput::Next => self.taken.saturating_add(1),
            SensorInput::Same => self.taken.max(1),
        };
        let left = count.checked_sub(taken);
        let left = left.ok_or(SensorFault::Ended { count })?;
        self.taken = taken;
        Ok((taken.saturating_sub(1), left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_stream_goes_on_repeats_and_begins_again() {
        let mut position = Position::default();
        let mut at = |input| position.advance(input, 2);
        assert_eq!(at(SensorInput::Same), Ok((0, 1)));
        assert_eq!(at(SensorInput::First), Ok((0, 1)));
        assert_eq!(at(SensorInput::Next), Ok((1, 0)));
        assert_eq!(at(SensorInput::Same), Ok((1, 0)));
        assert_eq!(at(SensorInput::Next), Err(SensorFault::Ended { count: 2 }));
        assert_eq!(at(SensorInput::Same), Ok((1, 0)));
        assert_eq!(at(SensorInput::First), Ok((0, 1)));
        let none = Position::default().advance(SensorInput::First, 0);
        assert_eq!(none, Err(SensorFault::Ended { count: 0 }));
    }
}
