//! The fixed first bytes of a file.

use super::{CHECKSUM, Error, MAGIC, PROLOGUE_BYTES, VERSION};

/// The numbers of the prologue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prologue {
    pub(super) file: u32,
    pub(super) header: u32,
    pub(super) program: u32,
    pub(super) checksum: u32,
}

/// First byte that the checksum covers.
const CHECKSUM_FROM: usize = 32;

fn take<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], Error> {
    let too_short = Error::TooShort {
        needed: PROLOGUE_BYTES,
        found: bytes.len(),
    };
    let rest = bytes.get(offset..).ok_or(too_short)?;
    rest.first_chunk().copied().ok_or(too_short)
}

impl Prologue {
    /// Reads the first [`PROLOGUE_BYTES`] of `bytes`; what follows is not looked at.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if take::<8>(bytes, 0)? != MAGIC {
            return Err(Error::Magic);
        }
        let version = u16::from_le_bytes(take(bytes, 8)?);
        if version != VERSION {
            return Err(Error::Version { found: version });
        }
        if take::<2>(bytes, 10)? != [0; 2] || take::<4>(bytes, 28)? != [0; 4] {
            return Err(Error::Reserved);
        }
        take::<32>(bytes, 32)?;
        Ok(Self {
            file: u32::from_le_bytes(take(bytes, 12)?),
            header: u32::from_le_bytes(take(bytes, 16)?),
            program: u32::from_le_bytes(take(bytes, 20)?),
            checksum: u32::from_le_bytes(take(bytes, 24)?),
        })
    }

    /// Compares the checksum with the bytes. A fuzzer would never get past it, hence the exception.
    pub(super) fn verify_checksum(&self, bytes: &[u8]) -> Result<(), Error> {
        let covered = bytes.get(CHECKSUM_FROM..).unwrap_or_default();
        let computed = CHECKSUM.checksum(covered);
        if computed == self.checksum || cfg!(fuzzing) {
            return Ok(());
        }
        Err(Error::Checksum {
            stated: self.checksum,
            computed,
        })
    }
}

/// Length in bytes of the file that starts with `bytes`, of which the first
/// [`PROLOGUE_BYTES`] suffice. Tells how much of a flash slot a model takes.
///
/// # Errors
/// If `bytes` is too short or is not the start of a packed file of this version.
pub fn file_length(bytes: &[u8]) -> Result<usize, Error> {
    Ok(Prologue::parse(bytes)?.file as usize)
}
