//! Flash that models are read from in place.

use embedded_storage::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind};

use crate::protocol::{FlashAccess, FlashFault, Refusal};

/// NOR flash that can also be read as memory.
///
/// An operation that is cut off by a power failure may leave any content in the bytes that it
/// concerns, and must leave all others as they were.
pub trait ModelFlash: NorFlash {
    /// All `capacity()` bytes, starting at a multiple of
    /// [`BLOB_ALIGNMENT`](crate::format::BLOB_ALIGNMENT).
    fn memory(&self) -> &[u8];
}

impl<F: ModelFlash> ModelFlash for &mut F {
    fn memory(&self) -> &[u8] {
        (**self).memory()
    }
}

/// Erases whole blocks, from `from` at least to `to`.
pub(super) fn erase<F: ModelFlash>(
    flash: &mut F,
    from: usize,
    to: usize,
) -> Result<(), Refusal<'static>> {
    let to = to.next_multiple_of(F::ERASE_SIZE);
    flash
        .erase(from as u32, to as u32)
        .map_err(|error| refusal(FlashAccess::Erase, from, error.kind()))
}

/// Writes erased bytes from `offset`, a multiple of the write size, on. What is missing to a whole
/// word at the end is written as erased.
pub(super) fn write<F: ModelFlash>(
    flash: &mut F,
    offset: usize,
    bytes: &[u8],
) -> Result<(), Refusal<'static>> {
    const ERASED: u8 = 0xff;
    const MAX_WRITE_SIZE: usize = 32;
    const {
        assert!(
            F::WRITE_SIZE <= MAX_WRITE_SIZE,
            "wider words than a slot's header"
        )
    };
    let whole = bytes.len() / F::WRITE_SIZE * F::WRITE_SIZE;
    let (words, tail) = bytes.split_at_checked(whole).unwrap_or_default();
    let mut result = flash.write(offset as u32, words);
    if !tail.is_empty() {
        let mut word = [ERASED; MAX_WRITE_SIZE];
        word.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
        let word = word.get(..F::WRITE_SIZE).unwrap_or_default();
        result = result.and_then(|()| flash.write((offset + whole) as u32, word));
    }
    result.map_err(|error| refusal(FlashAccess::Write, offset, error.kind()))
}

fn refusal(access: FlashAccess, offset: usize, kind: NorFlashErrorKind) -> Refusal<'static> {
    let fault = match kind {
        NorFlashErrorKind::NotAligned => FlashFault::NotAligned,
        NorFlashErrorKind::OutOfBounds => FlashFault::OutOfBounds,
        _ => FlashFault::Other,
    };
    Refusal::Flash {
        access,
        offset: offset as u32,
        fault,
    }
}
