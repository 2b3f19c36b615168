//! Parts of the arena and of the blob section, and numbers in ranges.

use crate::format::{BLOB_ALIGNMENT, Blob, Fault, Model, Storage, TENSOR_ALIGNMENT, TensorSpec};

/// `found` lies in `low ..= high`.
pub(super) fn range(field: &'static str, found: i64, low: i64, high: i64) -> Result<(), Fault> {
    if (low..=high).contains(&found) {
        return Ok(());
    }
    Err(Fault::Range {
        field,
        found,
        low,
        high,
    })
}

/// Two members of the file agree.
pub(super) fn equal(
    field: &'static str,
    expected: impl Into<u64>,
    found: impl Into<u64>,
) -> Result<(), Fault> {
    let (expected, found) = (expected.into(), found.into());
    if expected == found {
        return Ok(());
    }
    Err(Fault::Mismatch {
        field,
        expected,
        found,
    })
}

/// A sum stays below `limit`; `None` stands for one beyond 64 bits.
pub(super) fn bounded(field: &'static str, bound: Option<u64>, limit: u64) -> Result<(), Fault> {
    let bound = bound.unwrap_or(u64::MAX);
    if bound < limit {
        return Ok(());
    }
    Err(Fault::Overflow {
        field,
        bound,
        limit,
    })
}

fn within(field: &'static str, offset: u32, length: u64, end: u64) -> Result<(), Fault> {
    if u64::from(offset)
        .checked_add(length)
        .is_some_and(|last| last <= end)
    {
        return Ok(());
    }
    Err(Fault::Beyond {
        field,
        offset,
        length,
        end,
    })
}

fn aligned(field: &'static str, offset: u32, alignment: usize) -> Result<(), Fault> {
    if (offset as usize).is_multiple_of(alignment) {
        return Ok(());
    }
    Err(Fault::Misaligned { field, offset })
}

/// The blob section of a model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section<'m, 'a> {
    model: &'m Model<'a>,
}

impl<'m, 'a> Section<'m, 'a> {
    pub(super) fn of(model: &'m Model<'a>) -> Self {
        Self { model }
    }

    /// The bytes of a blob that must have `expected` of them.
    pub(super) fn blob(
        &self,
        field: &'static str,
        blob: Blob,
        expected: u64,
    ) -> Result<&'a [u8], Fault> {
        equal(field, expected, blob.length)?;
        aligned(field, blob.offset, BLOB_ALIGNMENT)?;
        let end = self.model.blobs().len() as u64;
        within(field, blob.offset, blob.length.into(), end)?;
        Ok(self.model.blob(blob))
    }

    /// A blob of one number of `N` bytes per channel.
    pub(super) fn numbers<const N: usize>(
        &self,
        field: &'static str,
        blob: Blob,
        channels: u16,
    ) -> Result<&'a [[u8; N]], Fault> {
        let bytes = self.blob(field, blob, u64::from(channels) * N as u64)?;
        Ok(bytes.as_chunks().0)
    }
}

/// The arena of a model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arena {
    bytes: u64,
}

impl Arena {
    pub(super) fn of(model: &Model<'_>) -> Self {
        Self {
            bytes: model.header().arena_bytes.into(),
        }
    }

    /// `length` bytes at `offset` lie in the arena and are aligned.
    pub(super) fn part(&self, field: &'static str, offset: u32, length: u64) -> Result<(), Fault> {
        aligned(field, offset, TENSOR_ALIGNMENT)?;
        within(field, offset, length, self.bytes)
    }

    /// A tensor has elements, a sound element type and a place.
    pub(super) fn tensor(&self, field: &'static str, spec: &TensorSpec) -> Result<(), Fault> {
        for size in [spec.height, spec.width, spec.channels] {
            range(field, size.into(), 1, u16::MAX.into())?;
        }
        let zero_point = spec.zero_point.into();
        match spec.storage {
            Storage::Code8 { bits } => {
                range(field, bits.into(), 1, 8)?;
                let highest = i64::from(i16::MAX) - largest_code(bits);
                range(field, zero_point, i16::MIN.into(), highest)?;
            }
            Storage::Value16 | Storage::Value32 => range(field, zero_point, 0, 0)?,
        }
        let bytes = spec.elements() * spec.storage.bytes() as u64;
        self.part(field, spec.offset, bytes)
    }
}

/// `2^bits - 1` for `bits` up to 8.
pub(super) fn largest_code(bits: u8) -> i64 {
    (1i64 << bits.min(8)) - 1
}

/// Smallest and largest value that the element type of a tensor holds.
pub(super) fn values(spec: &TensorSpec) -> (i64, i64) {
    match spec.storage {
        Storage::Code8 { bits } => {
            let low = i64::from(spec.zero_point);
            (low, low + largest_code(bits))
        }
        Storage::Value16 => (i16::MIN.into(), i16::MAX.into()),
        Storage::Value32 => (i32::MIN.into(), i32::MAX.into()),
    }
}

/// A named part of the arena.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    pub(super) field: &'static str,
    start: u64,
    end: u64,
}

impl Named {
    pub(super) fn new(field: &'static str, offset: u32, length: u64) -> Self {
        let start = u64::from(offset);
        Self {
            field,
            start,
            end: start + length,
        }
    }

    pub(super) fn tensor(field: &'static str, spec: &TensorSpec) -> Self {
        Self::new(field, spec.offset, spec.bytes() as u64)
    }

    /// Whether both share a byte.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Both share no byte.
    pub(super) fn apart(&self, other: &Self) -> Result<(), Fault> {
        if self.overlaps(other) {
            return Err(Fault::Overlap {
                field: self.field,
                other: other.field,
            });
        }
        Ok(())
    }
}
