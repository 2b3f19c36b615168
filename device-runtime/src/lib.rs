//! What the board and the host must agree on: the packed format, the integer arithmetic and its
//! kernels, the engine that walks a program over one arena, the wire protocol and a board's
//! command loop.
//!
//! | module | knows | does not know |
//! | --- | --- | --- |
//! | [`format`] | the packed file: header, zero-copy reader, checks, CRC | how it was trained |
//! | [`arithmetic`] | requantization, rounding, saturation, sub-byte codes | layers |
//! | [`kernels`] | one file per operator | files, boards |
//! | [`engine`] | a program over one caller-owned arena | transports |
//! | `batch` (feature `std`) | many images at once, with vector instructions or (feature `wgpu`) on a GPU | boards |
//! | [`mfcc`] | the features of a second of sound | networks, microphones |
//! | [`calibration`] | integer statistics, new parameters, the record, acceptance | where records are stored |
//! | [`protocol`] | requests, responses, framing | the link |
//! | [`service`] | a board's command loop | which board |
//! | `signature` (feature `signatures`) | which models a board trusts | where keys come from |
#![cfg_attr(not(test), no_std)]
#![deny(missing_docs)]
#![deny(unsafe_code)]

#[cfg(all(feature = "std", not(test)))]
extern crate std;

#[cfg(any(test, feature = "_test"))]
extern crate alloc;

pub mod arithmetic;
#[cfg(feature = "std")]
pub mod batch;
pub mod calibration;
pub mod engine;
pub mod format;
pub mod kernels;
pub mod mfcc;
pub mod protocol;
pub mod service;
#[cfg(feature = "signatures")]
pub mod signature;
#[cfg(any(test, feature = "_test"))]
pub mod testing;

/// Version of this crate, as boards and hosts tell each other.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
