//! What can be wrong with a packed file.

use super::VERSION;

/// Why a file cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file ends before its fixed part does.
    #[error("file of {found} bytes is too short: {needed} bytes expected")]
    TooShort {
        /// Bytes that must be there.
        needed: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// The first bytes are not those of a packed file.
    #[error("not a packed model: wrong first bytes")]
    Magic,
    /// Written by another version of the packer.
    #[error("format version {found}, this reader knows version {VERSION}")]
    Version {
        /// Version in the file.
        found: u16,
    },
    /// A bit of the prologue that must be 0 is not.
    #[error("reserved bits of the prologue are not 0")]
    Reserved,
    /// Truncated, or followed by something else.
    #[error("file is {found} bytes long, its prologue states {stated}")]
    Length {
        /// Length in the prologue.
        stated: u32,
        /// Length of the bytes given.
        found: usize,
    },
    /// Header and program do not fit into the file.
    #[error("header of {header} and program of {program} bytes do not fit into {file} bytes")]
    Sections {
        /// Length of the header.
        header: u32,
        /// Length of the program.
        program: u32,
        /// Length of the file.
        file: u32,
    },
    /// Some byte has changed.
    #[error("checksum {computed:#010x}, the prologue states {stated:#010x}")]
    Checksum {
        /// In the prologue.
        stated: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// Something in the header.
    #[error("header: {0}")]
    Header(Fault),
    /// Something in an operation or in the parameters that it names.
    #[error("operation {index}: {fault}")]
    Operation {
        /// Position in the program, from 0.
        index: u16,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with the header or an operation. `field` is the name of the member concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes are not an encoded value.
    #[error("cannot be decoded")]
    Undecodable,
    /// Bytes are left after the last value.
    #[error("{bytes} bytes follow the last value")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A number is outside the range that is allowed for it.
    #[error("{field} is {found}, allowed are {low} to {high}")]
    Range {
        /// Member concerned.
        field: &'static str,
        /// Its value.
        found: i64,
        /// Smallest allowed value.
        low: i64,
        /// Largest allowed value.
        high: i64,
    },
    /// Two members contradict each other.
    #[error("{field} is {found}, {expected} expected")]
    Mismatch {
        /// Member concerned.
        field: &'static str,
        /// Value that follows from the others.
        expected: u64,
        /// Value found.
        found: u64,
    },
    /// Channels that cannot be divided into groups of equal size.
    #[error("{channels} channels cannot be divided into {groups} {field}")]
    Indivisible {
        /// Member concerned.
        field: &'static str,
        /// Number of channels.
        channels: u16,
        /// Number of groups.
        groups: u16,
    },
    /// A tensor or scratch area does not start at a multiple of 8.
    #[error("{field} starts at byte {offset}, which is not a multiple of 8")]
    Misaligned {
        /// Member concerned.
        field: &'static str,
        /// Its first byte.
        offset: u32,
    },
    /// A part of the arena or of the blob section reaches beyond its end.
    #[error("{field} of {length} bytes at {offset} reaches beyond byte {end}")]
    Beyond {
        /// Member concerned.
        field: &'static str,
        /// Its first byte.
        offset: u32,
        /// Its number of bytes.
        length: u64,
        /// Number of bytes of the arena or section.
        end: u64,
    },
    /// An element type that the operation does not work on.
    #[error("{field} has an element type that this operation does not support")]
    Storage {
        /// Member concerned.
        field: &'static str,
    },
    /// Two parts of the arena that must not share bytes do.
    #[error("{field} overlaps {other}")]
    Overlap {
        /// Member concerned.
        field: &'static str,
        /// The member that it collides with.
        other: &'static str,
    },
    /// A tensor is read that no earlier operation has left there.
    #[error("{field} is not the intact output of an earlier operation")]
    Unwritten {
        /// Member concerned.
        field: &'static str,
    },
    /// A sum may leave its integer type.
    #[error("{field} may reach {bound}, the limit is {limit}")]
    Overflow {
        /// Member concerned.
        field: &'static str,
        /// Largest possible size of the number.
        bound: u64,
        /// Largest allowed size.
        limit: u64,
    },
    /// An operation stands where another kind must.
    #[error("{expected} expected here")]
    Kind {
        /// The kind that must stand here, or the rule for its place.
        expected: &'static str,
    },
}
