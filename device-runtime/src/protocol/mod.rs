//! How a host and a board talk: requests, replies and their frames.
//!
//! The host asks, the board answers: every request has exactly one reply, and a board never speaks
//! unasked. A message travels in a frame:
//!
//! ```text
//!  sequence number   u16, little-endian
//!  message           postcard: a Request (host to board) or a Reply (board to host)
//!  checksum          CRC-32 (ISO-HDLC) of all bytes before it, u32, little-endian
//! ```
//! The frame is encoded with COBS (consistent overhead byte stuffing), which removes all zero
//! bytes, and ends with one zero byte. Empty frames mean nothing; both sides send a zero byte before
//! every frame, which ends whatever is left of a damaged one. A frame that is too long for the
//! receiver, badly encoded or has a wrong checksum is dropped up to its zero byte and not answered.
//!
//! The board repeats the request's sequence number in its reply; the next request has the next
//! number, modulo 2^16. A request with the number of the one before it is a repetition: the board
//! sends the same reply again and does nothing else, so a host may repeat whatever got no answer. A
//! request with one of the 2^15 - 1 numbers before that came twice and is dropped.
//! [`Request::Hello`] alone is always executed; it starts a new conversation, with any number. A
//! host chooses one by chance, so that no reply to an earlier conversation can be taken for one to
//! its own.
//!
//! A host may send requests ahead of the replies to those before, as long as no more than
//! [`HelloReply::ahead_bytes`] bytes of frames are unanswered. The board carries them out in their
//! order. What is missing then can no longer be repeated, as later numbers have come: everything
//! that depends on it is asked for anew, with new numbers.
//!
//! A conversation starts with [`Request::Hello`]. Its number in the enum, and the first two fields
//! of [`HelloReply`], are the same in every version of the protocol, so that two sides of different
//! versions can tell each other which they are ([`versions`]).
//!
//! | request | reply | |
//! | --- | --- | --- |
//! | [`Hello`](Request::Hello) | [`Hello`](Reply::Hello) | who are you |
//! | [`FlashBegin`](Request::FlashBegin) | [`Done`](Reply::Done) | make room for a model |
//! | [`FlashWrite`](Request::FlashWrite) | [`Done`](Reply::Done) | the next part of it |
//! | [`FlashCommit`](Request::FlashCommit) | [`Committed`](Reply::Committed) | check it, then use it |
//! | [`Input`](Request::Input) | [`Done`](Reply::Done) | pixels |
//! | [`Run`](Request::Run) | [`Ran`](Reply::Ran) | one inference |
//! | [`Logits`](Request::Logits) | [`Logits`](Reply::Logits) | more of its result |
//! | [`LayerDigests`](Request::LayerDigests) | [`LayerDigests`](Reply::LayerDigests) | checksums |
//! | [`LayerRead`](Request::LayerRead) | [`Layer`](Reply::Layer) | a part of one layer's output |
//! | [`Info`](Request::Info) | [`Info`](Reply::Info) | memory used so far |
//! | [`Measure`](Request::Measure) | [`Ran`](Reply::Ran) | one inference, timed in parts |
//! | [`LayerTicks`](Request::LayerTicks) | [`LayerTicks`](Reply::LayerTicks) | those times |
//! | [`Calibration`](Request::Calibration) | [`Calibration`](Reply::Calibration) | see [`CalibrationRequest`] |
//!
//! Every request may be answered by [`Reply::Refused`] instead.

mod calibration;
mod frame;
mod message;
#[cfg(test)]
mod tests;

pub use calibration::{
    CalibrationReply, CalibrationRequest, Judgement, Pass, Progress, SensorFault, SensorInput,
    Tally,
};
pub use frame::{
    EncodeError, FRAME_BYTES, Frame, FrameError, FrameReader, MIN_FRAME_BYTES, chunk_bytes, encode,
};
pub use message::{
    FlashAccess, FlashFault, HelloReply, InfoReply, ModelInfo, Refusal, Reply, Request, TickUnit,
    versions,
};

/// Version of the messages. The two sides must have the same.
pub const PROTOCOL_VERSION: u16 = 4;
