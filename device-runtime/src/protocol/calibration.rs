//! The messages about calibrations.
//!
//! A calibration begins, then every pass runs inputs and is finished, then the parameters in use and
//! the new ones are tried on inputs, then the acceptance test decides. What becomes of a model's
//! records is asked for in between or without.
//!
//! | request | reply | |
//! | --- | --- | --- |
//! | [`Begin`](CalibrationRequest::Begin) | [`Progress`](CalibrationReply::Progress) | start to adapt |
//! | [`Sense`](CalibrationRequest::Sense) | [`Sensed`](CalibrationReply::Sensed) | pixels from the board's own sensor |
//! | [`Collect`](CalibrationRequest::Collect) | [`Collected`](CalibrationReply::Collected) | one input's statistics |
//! | [`Sums`](CalibrationRequest::Sums) | [`Sums`](CalibrationReply::Sums) | all statistics of the pass |
//! | [`FinishPass`](CalibrationRequest::FinishPass) | [`Progress`](CalibrationReply::Progress) | a layer's new parameters |
//! | [`Trial`](CalibrationRequest::Trial) | [`Reply::Ran`](super::Reply::Ran) | one inference, counted |
//! | [`GoldenTrial`](CalibrationRequest::GoldenTrial) | [`Reply::Done`](super::Reply::Done) | a golden input, counted |
//! | [`Judge`](CalibrationRequest::Judge) | [`Judged`](CalibrationReply::Judged) | keep the new parameters? |
//! | [`RecordPlace`](CalibrationRequest::RecordPlace) | [`RecordPlace`](CalibrationReply::RecordPlace) | a part of a record |
//! | [`Rollback`](CalibrationRequest::Rollback) | [`InUse`](CalibrationReply::InUse) | back to the record before |
//! | [`Reset`](CalibrationRequest::Reset) | [`InUse`](CalibrationReply::InUse) | back to the factory's parameters |

use serde::{Deserialize, Serialize};

use crate::calibration::{Metric, Passes, Rejection};

/// What the host asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CalibrationRequest {
    /// Starts a calibration from the factory's parameters, in place of one that has not ended. The
    /// parameters in use stay so until it is accepted.
    Begin {
        /// Which layers.
        passes: Passes,
        /// Images that the statistics of the training data count as.
        prior: u32,
    },
    /// Runs up to the layer of the pass, with the layers before it corrected, and adds up its
    /// accumulators. Uses up the pixels.
    Collect,
    /// The sums of the pass so far.
    Sums {
        /// First channel.
        first: u16,
    },
    /// Ends a pass: its sums become the layer's new parameters.
    FinishPass,
    /// One inference, counted for the acceptance test. Uses up the pixels. Only after the last pass.
    Trial {
        /// What it is counted for, and with which parameters it runs.
        tally: Tally,
        /// The right class, where it is known.
        label: Option<u16>,
    },
    /// Runs the next golden input of the model with the parameters in use and with the new ones, for
    /// the acceptance test. Only after the last pass.
    GoldenTrial,
    /// The acceptance test. The calibration ends if it is accepted and committed.
    Judge {
        /// Whether correct answers decide.
        labels: bool,
        /// Takes inputs of few classes.
        force: bool,
        /// Whether to use the new parameters from now on, after every start of the board too, if
        /// they are accepted.
        commit: bool,
    },
    /// A part of one of the places for records, see [`calibration`](crate::calibration).
    RecordPlace {
        /// Which, from 0.
        place: u8,
        /// First byte.
        offset: u32,
    },
    /// Takes the record in use back; the one before it, else the factory's parameters take over.
    Rollback,
    /// Erases all records: the factory's parameters take over.
    Reset,
    /// Takes pixels from the board's own source, in place of those that the host would send.
    Sense {
        /// Which ones.
        input: SensorInput,
    },
}

/// An input of a board's own source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SensorInput {
    /// The first of a recorded stream; a new one of a camera.
    First,
    /// The one behind the last.
    Next,
    /// The last one, once more.
    Same,
}

/// Why a board's own source gives no input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum SensorFault {
    /// A recorded stream is over.
    #[error("there are {count} inputs only")]
    Ended {
        /// Inputs of the stream.
        count: u32,
    },
    /// The inputs are not what the model reads.
    #[error("the inputs are not of the {expected} bytes that the model reads")]
    Size {
        /// Bytes of pixels.
        expected: u32,
    },
    /// It does not work.
    #[error("it cannot be read")]
    Device,
}

/// What a trial run counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tally {
    /// An input that statistics were collected from, with the new parameters.
    Seen,
    /// Another input, with the parameters in use.
    Before,
    /// Another input, with the new parameters.
    After,
}

/// What the board answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CalibrationReply<'a> {
    /// To [`CalibrationRequest::Begin`] and [`CalibrationRequest::FinishPass`].
    Progress(Progress),
    /// To [`CalibrationRequest::Collect`].
    Collected {
        /// Inputs of this pass so far.
        images: u32,
        /// Duration in units of [`HelloReply::tick`](super::HelloReply).
        ticks: u64,
    },
    /// Per channel the sum (`i64`) and the sum of squares (`u64`) of the accumulators, as many as
    /// fit from the first requested on.
    Sums {
        /// The numbers, little-endian.
        sums: &'a [u8],
    },
    /// To [`CalibrationRequest::Judge`].
    Judged(Judgement),
    /// A part of a place for records.
    RecordPlace {
        /// Number of places.
        places: u8,
        /// As many bytes as fit from the requested offset on; none behind the end.
        data: &'a [u8],
    },
    /// To [`CalibrationRequest::Rollback`] and [`CalibrationRequest::Reset`].
    InUse {
        /// Generation of the record that is in use now; `None` for the factory's parameters.
        record: Option<u32>,
    },
    /// To [`CalibrationRequest::Sense`].
    Sensed {
        /// Inputs that a recorded stream still has; `None` if there is always another.
        left: Option<u32>,
    },
}

/// How far a calibration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Passes in all.
    pub passes: u16,
    /// The pass that comes now; `None` after the last.
    pub pass: Option<Pass>,
    /// Bytes of memory that the calibration needs beside the model's arena.
    pub memory_bytes: u32,
    /// Golden inputs of the model.
    pub golden_images: u16,
    /// The place that the record is written to.
    pub place: u8,
}

/// One layer's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// Counted from 0.
    pub index: u16,
    /// Number of the operation.
    pub operation: u16,
    /// Its output channels.
    pub channels: u16,
    /// Most inputs that the sums have room for.
    pub most_images: u32,
}

/// What the acceptance test says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The figure that decided, or the first test that was not passed.
    pub verdict: Result<Metric, Rejection>,
    /// Inputs that statistics were collected from.
    pub images: u32,
    /// Layers that got new parameters.
    pub layers: u16,
    /// Channels that got new parameters.
    pub channels: u32,
    /// Channels among them that were not followed all the way.
    pub clamped: u32,
    /// Generation of the record that is in use from now on; `None` if none was written.
    pub generation: Option<u32>,
}
