//! The messages.

use serde::{Deserialize, Serialize};

use super::{CalibrationReply, CalibrationRequest, SensorFault};

/// What the host asks for.
///
/// `data` holds at most [`HelloReply::chunk_bytes`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request<'a> {
    /// Starts a conversation.
    Hello {
        /// The host's [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION).
        protocol: u16,
    },
    /// Erases a slot that is not in use (the only slot, if there is one).
    FlashBegin {
        /// Bytes of the packed model.
        length: u32,
        /// CRC-32 (ISO-HDLC) of them.
        checksum: u32,
    },
    /// The next bytes of the model. All parts but the last have [`HelloReply::chunk_bytes`] bytes.
    FlashWrite {
        /// Position in the model, the number of bytes written so far.
        offset: u32,
        /// The bytes.
        data: &'a [u8],
    },
    /// Checks the model completely and makes it the one in use. A model that is refused leaves the
    /// one before it in use.
    FlashCommit,
    /// Pixels of the next inference. Offset 0 starts a new image.
    Input {
        /// Position in the image, the number of bytes received so far.
        offset: u32,
        /// Height x width x channels, one byte each.
        data: &'a [u8],
    },
    /// One inference. Uses up the pixels.
    Run {
        /// Whether to compute the checksum of every operation's output.
        digests: bool,
    },
    /// Logits of the last inference.
    Logits {
        /// First class.
        first: u16,
    },
    /// Checksums of the last inference.
    LayerDigests {
        /// First operation.
        first: u16,
    },
    /// Runs up to an operation and returns a part of its output. Uses up the pixels.
    LayerRead {
        /// The operation, from 0.
        layer: u16,
        /// First byte, in canonical order, a multiple of 4.
        offset: u32,
    },
    /// Memory used.
    Info,
    /// One inference whose operations are timed one by one. Uses up the pixels.
    Measure,
    /// Durations of the operations of the last measurement.
    LayerTicks {
        /// First operation.
        first: u16,
    },
    /// About calibrations.
    Calibration(CalibrationRequest),
}

/// What the board answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply<'a> {
    /// To [`Request::Hello`].
    #[serde(borrow)]
    Hello(HelloReply<'a>),
    /// The request could not be carried out.
    Refused(Refusal<'a>),
    /// The request was carried out and has no result.
    Done,
    /// To [`Request::FlashCommit`]: the model that is now in use.
    Committed(ModelInfo),
    /// To [`Request::Run`] and [`Request::Measure`].
    Ran {
        /// Duration of the inference in units of [`HelloReply::tick`], without the time that
        /// checksums took.
        ticks: u64,
        /// The first logits, as in [`Reply::Logits`].
        logits: &'a [u8],
    },
    /// Logits, `i32` little-endian, as many as fit from the first requested on.
    Logits {
        /// The numbers.
        logits: &'a [u8],
    },
    /// CRC-32 (ISO-HDLC) of the output of each operation in canonical order, `u32` little-endian,
    /// as many as fit from the first requested on.
    LayerDigests {
        /// The numbers.
        digests: &'a [u8],
    },
    /// A part of an operation's output.
    Layer {
        /// Number of bytes of the whole output.
        length: u32,
        /// As many bytes as fit from the requested offset on, in canonical order: row major,
        /// channels last, codes in one byte, other elements in two or four, little-endian.
        data: &'a [u8],
    },
    /// To [`Request::Info`].
    Info(InfoReply),
    /// Duration of each operation in units of [`HelloReply::tick`], `u32` little-endian, as many as
    /// fit from the first requested on.
    LayerTicks {
        /// The numbers.
        ticks: &'a [u8],
    },
    /// To [`Request::Calibration`].
    #[serde(borrow)]
    Calibration(CalibrationReply<'a>),
}

/// What a board is and can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloReply<'a> {
    /// The board's [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION).
    pub protocol: u16,
    /// Version of the runtime in its firmware.
    pub runtime: &'a str,
    /// Name of the board, as in its `board.toml`.
    pub board: &'a str,
    /// Processor core.
    pub core: &'a str,
    /// What [`Reply::Ran::ticks`](Reply::Ran) counts.
    pub tick: TickUnit,
    /// Most bytes of `data` in a message.
    pub chunk_bytes: u32,
    /// Bytes of frames that the board's link keeps while the board is busy; 0 if it loses what
    /// comes meanwhile.
    pub ahead_bytes: u32,
    /// Bytes of arena.
    pub arena_bytes: u32,
    /// Bytes reserved for the stack.
    pub stack_bytes: u32,
    /// Number of model slots.
    pub slots: u8,
    /// Bytes of the largest model that a slot holds.
    pub slot_bytes: u32,
    /// The model in use.
    pub model: Option<ModelInfo>,
}

/// The unit of durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TickUnit {
    /// Instructions of the emulated processor. They are not cycles.
    Instructions,
    /// Cycles of the processor.
    Cycles,
    /// Nanoseconds of wall-clock time.
    Nanoseconds,
}

/// A model on a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// SHA-256 of the model, as its file states it.
    pub identity: [u8; 32],
    /// Version that was given when it was packed; 0 without.
    pub version: u32,
    /// Bytes of the packed model.
    pub length: u32,
    /// Higher than that of every other model on the board.
    pub generation: u32,
    /// Bytes of arena that it uses.
    pub arena_bytes: u32,
    /// Bytes of one image.
    pub pixel_bytes: u32,
    /// Number of classes.
    pub classes: u16,
    /// Number of operations.
    pub operations: u16,
    /// Generation of the calibration record in use; `None` for the factory's parameters.
    pub record: Option<u32>,
}

/// Memory used since the board started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfoReply {
    /// Most bytes of stack that were in use at once.
    pub stack_used: u32,
    /// Bytes of arena that the model in use needs; 0 without one.
    pub arena_used: u32,
    /// The slot of the model in use.
    pub slot: Option<u8>,
}

/// Why a board did not do what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal<'a> {
    /// The message is none that this firmware knows.
    #[error("the board does not know this request")]
    Undecodable,
    /// There is no model on the board.
    #[error("there is no model on the board")]
    NoModel,
    /// The model does not fit into a slot.
    #[error("the model has {length} bytes, a slot of the board holds {capacity}")]
    ModelTooLarge {
        /// Bytes of the model.
        length: u32,
        /// Bytes of the slot.
        capacity: u32,
    },
    /// A part of a model came without a beginning, as after a restart of the board.
    #[error("no model is being written")]
    NotWriting,
    /// A part came out of order, as after a restart of the board.
    #[error("byte {expected} must come next, byte {found} came")]
    Offset {
        /// Bytes received so far.
        expected: u32,
        /// Position of the part.
        found: u32,
    },
    /// More bytes came than there are.
    #[error("{found} bytes came, {expected} belong there")]
    TooLong {
        /// Length of the whole.
        expected: u32,
        /// End of the part.
        found: u32,
    },
    /// Something is asked for before all of its bytes have come.
    #[error("only {received} of {expected} bytes have come")]
    Incomplete {
        /// Length of the whole.
        expected: u32,
        /// Bytes received so far.
        received: u32,
    },
    /// What lies in the flash is not what was announced.
    #[error("the bytes in flash have the checksum {computed:#010x}, {stated:#010x} was announced")]
    Checksum {
        /// As announced.
        stated: u32,
        /// Of the bytes in flash.
        computed: u32,
    },
    /// The runtime does not accept the model.
    #[error("the board refuses the model: {reason}")]
    Model {
        /// The runtime's words.
        reason: &'a str,
    },
    /// The model needs more memory.
    #[error("the model needs an arena of {needed} bytes, the board has {available}")]
    Arena {
        /// Bytes that it needs.
        needed: u32,
        /// Bytes that there are.
        available: u32,
    },
    /// The flash driver failed.
    #[error("flash {access} at byte {offset} failed: {fault}")]
    Flash {
        /// What was tried.
        access: FlashAccess,
        /// Position in the flash.
        offset: u32,
        /// What the driver says.
        fault: FlashFault,
    },
    /// There is no operation, class or byte of that number.
    #[error("{index} was asked for, there are {count}")]
    Index {
        /// As requested.
        index: u32,
        /// How many there are.
        count: u32,
    },
    /// The last request was none that leaves such a result.
    #[error("there is no such result: run an inference first")]
    NoResult,
    /// There is no room for a number per operation.
    #[error("the board has room for {capacity} numbers, the model has {needed} operations")]
    Digests {
        /// Number of operations.
        needed: u16,
        /// Most numbers.
        capacity: u16,
    },
    /// The firmware has no code to calibrate.
    #[error("the firmware of this board cannot calibrate, as its flash is too small")]
    CannotCalibrate,
    /// The model cannot be calibrated.
    #[error("the model holds no statistics to calibrate by")]
    NoStatistics,
    /// The model can only be calibrated by the fast plan.
    #[error(
        "the model holds statistics of {held} of its {convolutions} convolutions only, those of the \
         fast plan"
    )]
    FastOnly {
        /// Layers that it has statistics of.
        held: u16,
        /// Convolutions.
        convolutions: u16,
    },
    /// There is no memory for the sums.
    #[error(
        "a calibration needs {needed} bytes of memory beside the model's arena, the board has \
         {available}"
    )]
    CalibrationMemory {
        /// Bytes that it needs.
        needed: u32,
        /// Bytes that there are.
        available: u32,
    },
    /// There is no flash for the records.
    #[error(
        "two calibration records need {needed} bytes of flash behind the model, there are \
         {available}"
    )]
    RecordRoom {
        /// Bytes that two records need.
        needed: u32,
        /// Bytes that there are.
        available: u32,
    },
    /// A part of a calibration without a beginning, as after a restart of the board.
    #[error("no calibration has begun")]
    NotCalibrating,
    /// The new parameters are asked for before there are all.
    #[error("{left} passes of the calibration are left")]
    PassesLeft {
        /// Their number.
        left: u16,
    },
    /// A pass is asked for after the last.
    #[error("the last pass of the calibration is over")]
    NoPassLeft,
    /// The sums hold no more inputs.
    #[error("the sums of operation {operation} hold {most} inputs at most")]
    SumsFull {
        /// Number of the operation.
        operation: u16,
        /// Most inputs.
        most: u32,
    },
    /// A pass without inputs.
    #[error("no input has come in this pass")]
    NoInput,
    /// Before and after were not tried on as many inputs.
    #[error("{before} inputs were tried before and {after} after the calibration")]
    Trials {
        /// With the parameters in use.
        before: u32,
        /// With the new ones.
        after: u32,
    },
    /// There is no record in use.
    #[error("no calibration is in use")]
    NoRecord,
    /// The generations are used up.
    #[error("there have been too many calibrations: reset them first")]
    Generations,
    /// The board takes signed models only.
    #[error("the board takes signed models only, and this one has no signature")]
    Unsigned,
    /// The signature is not that of the board's key, or the model has changed since.
    #[error("the model's signature is not one of the key that the board trusts")]
    Signature,
    /// The board does not go back to older models.
    #[error("the model has version {found}, and the board does not go back from version {running}")]
    Downgrade {
        /// Version of the model that it had last.
        running: u32,
        /// Version of the new one.
        found: u32,
    },
    /// The board has no source of inputs.
    #[error("the board has no sensor of its own")]
    NoSensor,
    /// It has one that gives no input.
    #[error("the board's own sensor: {0}")]
    Sensor(SensorFault),
}

/// What a flash driver was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum FlashAccess {
    /// Erasing.
    #[error("erase")]
    Erase,
    /// Writing.
    #[error("write")]
    Write,
}

/// Why a flash driver failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum FlashFault {
    /// The place or length does not suit the device.
    #[error("not aligned")]
    NotAligned,
    /// The place does not exist.
    #[error("out of bounds")]
    OutOfBounds,
    /// Everything else.
    #[error("the device reports an error")]
    Other,
}

/// Protocol and runtime version of a message that should be a [`Reply::Hello`], whatever version
/// it is of; `None` if it is something else.
#[must_use]
pub fn versions(message: &[u8]) -> Option<(u16, &str)> {
    const HELLO: u32 = 0;
    let ((variant, protocol, runtime), _) =
        postcard::take_from_bytes::<(u32, u16, &str)>(message).ok()?;
    (variant == HELLO).then_some((protocol, runtime))
}
