//! A view of a packed file that has been checked.

use super::prologue::{self, Prologue};
use super::{
    BLOB_ALIGNMENT, Blob, Error, Fault, Golden, Header, MAX_OPERATIONS, Operation, PROLOGUE_BYTES,
    check,
};

/// A packed file, checked once and read in place ever after.
///
/// Whoever holds a `Model` may rely on every rule of [`new_checked`](Self::new_checked); reading it
/// cannot fail, and running it cannot leave the arena.
#[derive(Debug, Clone, Copy)]
pub struct Model<'a> {
    prologue: &'a [u8; PROLOGUE_BYTES],
    header: Header<'a>,
    program: &'a [u8],
    blobs: &'a [u8],
}

impl<'a> Model<'a> {
    /// Checks all of `bytes`, which must be exactly one file.
    ///
    /// Afterwards it is certain that the checksum is right; that every operation can be decoded;
    /// that every blob lies in its section and has the length its use needs; that every tensor and
    /// scratch area lies in the arena, starts at a multiple of 8 and collides with no other part
    /// that the operation uses; that sizes, strides and groups fit together; that every tensor read
    /// is the intact output of an earlier operation; that no sum of products leaves 32 bits (64 for
    /// logits) and no requantization leaves 64; and that every result fits the element type of
    /// its tensor.
    ///
    /// # Errors
    /// Names the first rule that is broken, with the place and the numbers.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, Error> {
        let prologue = Prologue::parse(bytes)?;
        if prologue.file as usize != bytes.len() {
            return Err(Error::Length {
                stated: prologue.file,
                found: bytes.len(),
            });
        }
        prologue.verify_checksum(bytes)?;
        let model = Self::split(bytes, &prologue)?;
        check::model(&model)?;
        Ok(model)
    }

    /// The same for bytes that [`new_checked`](Self::new_checked) has accepted and that have not
    /// changed since: only finds its parts again.
    pub(crate) fn reopen(bytes: &'a [u8]) -> Result<Self, Error> {
        Self::split(bytes, &Prologue::parse(bytes)?)
    }

    fn split(bytes: &'a [u8], prologue: &Prologue) -> Result<Self, Error> {
        let bytes = prologue.content(bytes);
        let sections = || {
            let (first, rest) = bytes.split_first_chunk()?;
            let (header, rest) = rest.split_at_checked(prologue.header as usize)?;
            let (program, rest) = rest.split_at_checked(prologue.program as usize)?;
            let end = bytes.len() - rest.len();
            let gap = end.next_multiple_of(BLOB_ALIGNMENT) - end;
            // A file without blobs may end before the next aligned byte.
            let blobs = rest.get(gap..).unwrap_or_default();
            Some((first, header, program, blobs))
        };
        let (first, header, program, blobs) = sections().ok_or(Error::Sections {
            header: prologue.header,
            program: prologue.program,
            file: prologue.file,
        })?;
        let (header, rest) = postcard::take_from_bytes::<Header<'a>>(header)
            .map_err(|_| Error::Header(Fault::Undecodable))?;
        if !rest.is_empty() {
            return Err(Error::Header(Fault::Trailing { bytes: rest.len() }));
        }
        if header.operations == 0 || header.operations > MAX_OPERATIONS {
            return Err(Error::Header(Fault::Range {
                field: "operations",
                found: header.operations.into(),
                low: 1,
                high: MAX_OPERATIONS.into(),
            }));
        }
        Ok(Self {
            prologue: first,
            header,
            program,
            blobs,
        })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header<'a> {
        &self.header
    }

    /// Version that whoever packed it gave it, 0 if none.
    #[must_use]
    pub fn version(&self) -> u32 {
        prologue::version(self.prologue)
    }

    /// SHA-256 of everything behind the prologue but the signature, and of the version unless that
    /// is 0.
    #[must_use]
    pub fn identity(&self) -> &'a [u8; 32] {
        self.prologue.last_chunk().unwrap_or(&[0; 32])
    }

    /// The operations in execution order, decoded one at a time.
    #[must_use]
    pub fn operations(&self) -> Operations<'a> {
        Operations {
            rest: self.program,
            left: self.header.operations,
        }
    }

    /// The blob section.
    #[must_use]
    pub fn blobs(&self) -> &'a [u8] {
        self.blobs
    }

    /// The bytes of `blob`; empty if they do not exist, which cannot be for a blob of this model.
    #[must_use]
    pub fn blob(&self, blob: Blob) -> &'a [u8] {
        let from = blob.offset as usize;
        self.blobs
            .get(from..)
            .and_then(|rest| rest.get(..blob.length as usize))
            .unwrap_or_default()
    }

    /// Bytes of one input image.
    #[must_use]
    pub fn pixel_bytes(&self) -> usize {
        let [height, width, channels] = self.header.input;
        usize::from(height)
            .saturating_mul(width.into())
            .saturating_mul(channels.into())
    }

    /// The inputs and results that every device must reproduce.
    #[must_use]
    pub fn golden(&self) -> &Golden {
        &self.header.golden
    }

    /// Pixels of golden input `image`, `None` behind the last.
    #[must_use]
    pub fn golden_pixels(&self, image: u16) -> Option<&'a [u8]> {
        if image >= self.golden().images {
            return None;
        }
        let from = usize::from(image).checked_mul(self.pixel_bytes())?;
        self.blob(self.golden().pixels)
            .get(from..)?
            .get(..self.pixel_bytes())
    }

    /// CRC-32 of the output of `operation` for golden input `image`, `None` behind the last.
    #[must_use]
    pub fn golden_digest(&self, image: u16, operation: u16) -> Option<u32> {
        self.golden_word(
            self.golden().digests,
            image,
            operation,
            self.header.operations,
        )
        .map(u32::from_le_bytes)
    }

    /// Logit of `class` for golden input `image`, `None` behind the last.
    #[must_use]
    pub fn golden_logits(&self, image: u16, class: u16) -> Option<i32> {
        self.golden_word(self.golden().logits, image, class, self.header.classes)
            .map(i32::from_le_bytes)
    }

    fn golden_word(&self, blob: Blob, image: u16, column: u16, columns: u16) -> Option<[u8; 4]> {
        if image >= self.golden().images || column >= columns {
            return None;
        }
        let index = usize::from(image)
            .checked_mul(columns.into())?
            .checked_add(column.into())?;
        let words = self.blob(blob).get(index.checked_mul(4)?..)?;
        words.first_chunk().copied()
    }
}

/// The operations of a model that are still to come, see [`Model::operations`].
#[derive(Debug, Clone)]
pub struct Operations<'a> {
    rest: &'a [u8],
    left: u16,
}

impl<'a> Operations<'a> {
    /// The encoded operations that are still to come.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Decodes the next operation; `None` behind the last.
    ///
    /// # Errors
    /// If the bytes are not an operation.
    pub(super) fn decode_next(&mut self) -> Option<Result<Operation<'a>, Fault>> {
        self.left = self.left.checked_sub(1)?;
        let decoded = postcard::take_from_bytes(self.rest);
        Some(
            decoded
                .map_err(|_| Fault::Undecodable)
                .map(|(operation, rest)| {
                    self.rest = rest;
                    operation
                }),
        )
    }
}

impl<'a> Iterator for Operations<'a> {
    type Item = Operation<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.decode_next()?.ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.into(), Some(self.left.into()))
    }
}
