//! What can go wrong between host and board.

use lowbit_runtime::protocol::{PROTOCOL_VERSION, Refusal};

use super::transport::TransportError;
use crate::{calibration, integer, pack};

/// Why a board did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no line to the board, or no more.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The user wants to stop.
    #[error("interrupted")]
    Interrupted,
    /// Nothing came back.
    #[error(
        "{board} does not answer: nothing came back for {request}, asked {attempts} times in \
         {seconds:.1} s"
    )]
    Silent {
        /// The other end.
        board: String,
        /// What was asked.
        request: &'static str,
        /// How often.
        attempts: u32,
        /// In what time.
        seconds: f64,
    },
    /// Something came back, but no reply.
    #[error("{board} answers {request} with garbage ({last}): wrong firmware, or a bad line")]
    Garbage {
        /// The other end.
        board: String,
        /// What was asked.
        request: &'static str,
        /// What is wrong with the last thing that came.
        last: String,
    },
    /// The two sides do not speak the same language.
    #[error(
        "the board speaks protocol {board_protocol} (runtime {board_runtime}), this program \
         protocol {PROTOCOL_VERSION} (runtime {host_runtime}): update the {}",
        if *.board_protocol < PROTOCOL_VERSION { "board's firmware" } else { "program" }
    )]
    Protocol {
        /// The board's version of the protocol.
        board_protocol: u16,
        /// The board's runtime.
        board_runtime: String,
        /// Our runtime.
        host_runtime: &'static str,
    },
    /// The board says no.
    #[error("{board} refuses {request}: {reason}")]
    Refused {
        /// The other end.
        board: String,
        /// What was asked.
        request: &'static str,
        /// The board's words.
        reason: String,
        /// What the user can do something about.
        cause: Cause,
    },
    /// A reply of the wrong kind, or with numbers that cannot be.
    #[error("{board} answers {request} with something else")]
    Unexpected {
        /// The other end.
        board: String,
        /// What was asked.
        request: &'static str,
    },
    /// The bytes are no packed model, or the images do not suit it.
    #[error(transparent)]
    Network(#[from] integer::Error),
    /// The model does not fit into the flash.
    #[error(
        "the model has {model} bytes, a slot of `{board}` holds {slot}: {} bytes too many; \
         largest part: `{}` with {} bytes",
        model - slot, largest.name, largest.bytes
    )]
    SlotTooSmall {
        /// The board.
        board: String,
        /// Bytes of the model.
        model: u64,
        /// Bytes of a slot.
        slot: u64,
        /// The layer with most parameters.
        largest: ModelPart,
    },
    /// The model does not fit into the memory.
    #[error(
        "the model needs an arena of {model} bytes, `{board}` has {arena}: {} bytes too many; \
         largest part: `{}` with {} bytes",
        model - arena, largest.name, largest.bytes
    )]
    ArenaTooSmall {
        /// The board.
        board: String,
        /// Bytes that the model needs.
        model: u64,
        /// Bytes that there are.
        arena: u64,
        /// The layer that needs most memory at once.
        largest: ModelPart,
    },
    /// The board has another model.
    #[error("the board has {} instead of model {expected}", found.as_deref().map_or("no model".into(), |found| format!("model {found}")))]
    OtherModel {
        /// Start of the identity expected.
        expected: String,
        /// Start of the identity found.
        found: Option<String>,
    },
    /// The model cannot be calibrated so.
    #[error(transparent)]
    Calibration(#[from] calibration::Error),
    /// The board calibrates other layers than the model's plan names.
    #[error("the board calibrates other layers than the model's plan names")]
    OtherPlan,
    /// Board and host disagree about a calibration.
    #[error(
        "byte {byte} of the board's calibration record is not what this computer computes from the board's sums"
    )]
    RecordDiffers {
        /// First byte that differs.
        byte: usize,
    },
    /// A recorded stream is too short.
    #[error(
        "the board's sensor has a recorded stream of {found} inputs; {needed} are needed for the \
         statistics and to judge them by"
    )]
    SensorInputs {
        /// Inputs that there are.
        found: usize,
        /// Inputs needed.
        needed: usize,
    },
    /// The board says that it uses a record, but none that can be used is there.
    #[error("the board uses calibration {generation}, but has no such record")]
    RecordGone {
        /// Generation of the record.
        generation: u32,
    },
    /// The model with the parameters of the board's record.
    #[error("the board's calibration cannot be used here: {0}")]
    Apply(#[from] pack::Error),
    /// Nothing to verify with.
    #[error("there is no image to verify with")]
    NoImages,
    /// Comparisons of before do not belong to these images.
    #[error("image {image} is not the one that was compared before")]
    OtherImages {
        /// Its index.
        image: usize,
    },
}

impl Error {
    /// Whether the board and the program work, but the model does not fit.
    #[must_use]
    pub fn does_not_fit(&self) -> bool {
        matches!(self, Self::SlotTooSmall { .. } | Self::ArenaTooSmall { .. })
    }
}

/// What a refusal comes from, as far as the user can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The board has no model.
    NoModel,
    /// The model has no statistics to calibrate by.
    NoStatistics,
    /// It has those of the fast plan only.
    FastOnly,
    /// The firmware has no code to calibrate.
    CannotCalibrate,
    /// The board takes signed models only.
    Unsigned,
    /// The model is signed with another key than the board's.
    Signature,
    /// The board does not go back to older models.
    Downgrade,
    /// The board has no sensor.
    NoSensor,
    /// Anything else.
    Other,
}

impl Cause {
    pub(super) fn of(refusal: &Refusal<'_>) -> Self {
        match refusal {
            Refusal::NoModel => Self::NoModel,
            Refusal::NoStatistics => Self::NoStatistics,
            Refusal::FastOnly { .. } => Self::FastOnly,
            Refusal::CannotCalibrate => Self::CannotCalibrate,
            Refusal::Unsigned => Self::Unsigned,
            Refusal::Signature => Self::Signature,
            Refusal::Downgrade { .. } => Self::Downgrade,
            Refusal::NoSensor => Self::NoSensor,
            _ => Self::Other,
        }
    }
}

/// A layer and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPart {
    /// Its name.
    pub name: String,
    /// Bytes of flash or of memory.
    pub bytes: u64,
}
