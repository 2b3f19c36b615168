//! The packed file: one network as integers, readable in place.
//!
//! ```text
//!  offset  bytes
//!       0      8  magic "\x89LOWBIT\n"
//!       8      2  format version, u16
//!      10      2  1 if a signature ends the file, else 0, u16
//!      12      4  length of the file, u32
//!      16      4  length of the header, u32
//!      20      4  length of the program, u32
//!      24      4  CRC-32 (ISO-HDLC) of all bytes from offset 32 to the end of the blobs, and of
//!                 the version unless that is 0, u32
//!      28      4  version of the model, u32, 0 if nobody counts them
//!      32     32  identity: SHA-256 of all bytes from offset 64 to the end of the blobs, and of
//!                 the version unless that is 0
//!      64         header: one postcard `Header`
//!                 program: `Header::operations` postcard `Operation`s, one after the other
//!                 blob section, from the next multiple of 8; each blob at a multiple of 8
//!                 within it, all gaps filled with 0
//!                 signature: Ed25519 of all bytes before it, 64 bytes, if there is one
//! ```
//! All numbers are little-endian. A reader refuses every version but its own.

mod check;
mod error;
mod model;
mod prologue;
pub mod types;

pub use error::{Error, Fault};
pub use model::{Model, Operations};
pub use prologue::{Signed, content_checksum, file_length, signed};
pub use types::*;

use crc::{CRC_32_ISO_HDLC, Crc};

/// First bytes of every packed file.
pub const MAGIC: [u8; 8] = *b"\x89LOWBIT\n";
/// Version of the layout that this crate reads and writes.
pub const VERSION: u16 = 3;
/// Bytes before the header.
pub const PROLOGUE_BYTES: usize = 64;
/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;
/// Every blob starts at a multiple of this.
pub const BLOB_ALIGNMENT: usize = 8;
/// Every tensor and scratch area starts at a multiple of this.
pub const TENSOR_ALIGNMENT: usize = 8;
/// Most operations that a program may have; bounds the time that a check takes.
pub const MAX_OPERATIONS: u16 = 512;

/// The checksum of files, tensors and frames.
pub const CHECKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
