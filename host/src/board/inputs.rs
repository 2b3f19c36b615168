//! Where the inputs of a board's calibration come from.

use lowbit_runtime::protocol::{CalibrationReply, CalibrationRequest, SensorInput, Tally};

use super::line::Work;
use super::{Client, Error};
use crate::data::Dataset;

/// Inputs that give the statistics, and others, which tell whether the new parameters help.
#[derive(Debug, Clone, Copy)]
pub enum Inputs<'a> {
    /// Images that this computer sends.
    Sent {
        /// Give the statistics.
        seen: &'a Dataset,
        /// Others.
        unseen: &'a Dataset,
    },
    /// Those of the board's own sensor. A recorded stream begins again with every pass, a camera
    /// gives new ones.
    Sensed {
        /// How many give the statistics.
        seen: usize,
        /// How many others.
        unseen: usize,
    },
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Input<'a> {
    Sent(&'a [u8]),
    Sensed(SensorInput),
}

impl<'a> Inputs<'a> {
    /// Numbers of the two kinds.
    pub(super) fn counts(&self) -> [usize; 2] {
        match *self {
            Self::Sent { seen, unseen } => [seen.len(), unseen.len()],
            Self::Sensed { seen, unseen } => [seen, unseen],
        }
    }

    /// Those that give the statistics.
    pub(super) fn seen(&self) -> impl Iterator<Item = Input<'a>> + use<'a> {
        let inputs = *self;
        (0..inputs.counts()[0]).map(move |index| match inputs {
            Self::Sent { seen, .. } => Input::Sent(seen.image(index)),
            Self::Sensed { .. } if index == 0 => Input::Sensed(SensorInput::First),
            Self::Sensed { .. } => Input::Sensed(SensorInput::Next),
        })
    }

    /// Number `index` of the others, first for [`Tally::Before`], then for [`Tally::After`].
    pub(super) fn unseen(&self, index: usize, tally: Tally) -> Input<'a> {
        match (*self, tally) {
            (Self::Sent { unseen, .. }, _) => Input::Sent(unseen.image(index)),
            (Self::Sensed { .. }, Tally::After) => Input::Sensed(SensorInput::Same),
            (Self::Sensed { .. }, _) => Input::Sensed(SensorInput::Next),
        }
    }

    /// Classes of the others, where they are known.
    pub(super) fn labels(&self) -> &'a [u16] {
        match *self {
            Self::Sent { unseen, .. } => &unseen.labels,
            Self::Sensed { .. } => &[],
        }
    }

    /// Whether images are as large as a model reads them.
    pub(super) fn check(&self, expected: usize) -> Result<(), Error> {
        if let Self::Sent { seen, unseen } = self {
            for data in [seen, unseen] {
                let found = data.shape.iter().product();
                if expected != found {
                    return Err(crate::integer::Error::Pixels { expected, found }.into());
                }
            }
        }
        Ok(())
    }
}

impl Client {
    /// Has the board hold an input.
    pub(super) fn provide(&mut self, input: Input<'_>, inputs: &Inputs<'_>) -> Result<(), Error> {
        let input = match input {
            Input::Sent(pixels) => return self.send_pixels(pixels),
            Input::Sensed(input) => input,
        };
        let request = CalibrationRequest::Sense { input };
        let left =
            self.ask_calibration("its sensor", request, Work::Long, |reply| match reply {
                CalibrationReply::Sensed { left } => Some(left),
                _ => None,
            })?;
        let needed = inputs.counts().iter().sum();
        match (input, left) {
            (SensorInput::First, Some(left)) if (left as usize) + 1 < needed => {
                Err(Error::SensorInputs {
                    found: left as usize + 1,
                    needed,
                })
            }
            _ => Ok(()),
        }
    }
}
