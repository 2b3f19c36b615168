//! The fixed first bytes of a file.

use super::{CHECKSUM, Error, MAGIC, PROLOGUE_BYTES, SIGNATURE_BYTES, VERSION};

/// The numbers of the prologue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prologue {
    pub(super) file: u32,
    pub(super) header: u32,
    pub(super) program: u32,
    pub(super) checksum: u32,
    signed: bool,
}

/// Where the version is.
const VERSION_AT: core::ops::Range<usize> = 28..32;

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
        let signed = match u16::from_le_bytes(take(bytes, 10)?) {
            0 => false,
            1 => true,
            _ => return Err(Error::Reserved),
        };
        take::<32>(bytes, 32)?;
        Ok(Self {
            file: u32::from_le_bytes(take(bytes, 12)?),
            header: u32::from_le_bytes(take(bytes, 16)?),
            program: u32::from_le_bytes(take(bytes, 20)?),
            checksum: u32::from_le_bytes(take(bytes, 24)?),
            signed,
        })
    }

    /// All of the file but its signature.
    pub(super) fn content<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        let signature = if self.signed { SIGNATURE_BYTES } else { 0 };
        let length = file.len().saturating_sub(signature);
        file.get(..length).unwrap_or_default()
    }

    /// Compares the checksum with the bytes. A fuzzer would never get past it, hence the exception.
    pub(super) fn verify_checksum(&self, bytes: &[u8]) -> Result<(), Error> {
        let computed = content_checksum(self.content(bytes));
        if computed == self.checksum || cfg!(fuzzing) {
            return Ok(());
        }
        Err(Error::Checksum {
            stated: self.checksum,
            computed,
        })
    }
}

/// Version of the model whose file starts with `bytes`.
pub(super) fn version(bytes: &[u8]) -> u32 {
    let version = bytes.get(VERSION_AT).unwrap_or_default();
    version.first_chunk().copied().map_or(0, u32::from_le_bytes)
}

/// The checksum that belongs into the prologue of a file. `content` is all of it but its signature.
#[must_use]
pub fn content_checksum(content: &[u8]) -> u32 {
    let mut digest = CHECKSUM.digest();
    digest.update(content.get(VERSION_AT.end..).unwrap_or_default());
    // Files were once written without.
    let version = content.get(VERSION_AT).unwrap_or_default();
    if version != [0; 4] {
        digest.update(version);
    }
    digest.finalize()
}

/// A file with a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed<'a> {
    /// All bytes before the signature.
    pub content: &'a [u8],
    /// Ed25519 of them, which nobody has verified.
    pub signature: &'a [u8; SIGNATURE_BYTES],
    /// Version of the model.
    pub version: u32,
}

/// The parts of a file, if it has a signature. Nothing but its prologue is checked.
///
/// # Errors
/// If `file` is too short or is not the start of a packed file of this version.
pub fn signed(file: &[u8]) -> Result<Option<Signed<'_>>, Error> {
    let prologue = Prologue::parse(file)?;
    if !prologue.signed {
        return Ok(None);
    }
    let content = prologue.content(file);
    let signature = file.last_chunk().ok_or(Error::TooShort {
        needed: PROLOGUE_BYTES + SIGNATURE_BYTES,
        found: file.len(),
    })?;
    Ok(Some(Signed {
        content,
        signature,
        version: version(file),
    }))
}

/// Length in bytes of the file that starts with `bytes`, of which the first
/// [`PROLOGUE_BYTES`] suffice. Tells how much of a flash slot a model takes.
///
/// # Errors
/// If `bytes` is too short or is not the start of a packed file of this version.
pub fn file_length(bytes: &[u8]) -> Result<usize, Error> {
    Ok(Prologue::parse(bytes)?.file as usize)
}
