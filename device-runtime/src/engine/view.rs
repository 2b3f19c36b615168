//! A tensor as others see it.

use crate::format::{CHECKSUM, Storage, TensorSpec};

/// The result of an operation.
///
/// The canonical order of its elements is row major with channels last; in it a code takes one
/// byte, other elements take two or four, little-endian.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    spec: TensorSpec,
    bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    pub(super) fn new(spec: TensorSpec, bytes: &'a [u8]) -> Self {
        Self { spec, bytes }
    }

    /// Size, element type and place.
    #[must_use]
    pub fn spec(&self) -> &TensorSpec {
        &self.spec
    }

    /// Bytes of the tensor in canonical order.
    #[must_use]
    pub fn canonical_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Integer value (code plus zero point) of an element, `None` outside the tensor.
    #[must_use]
    pub fn value(&self, y: u16, x: u16, channel: u16) -> Option<i32> {
        let spec = &self.spec;
        if y >= spec.height || x >= spec.width || channel >= spec.channels {
            return None;
        }
        let pixel = usize::from(y) * usize::from(spec.width) + usize::from(x);
        let index = pixel * usize::from(spec.channels) + usize::from(channel);
        let bytes = self.bytes.get(index * spec.storage.bytes()..)?;
        match spec.storage {
            Storage::Code8 { .. } => bytes
                .first()
                .map(|&code| i32::from(code).saturating_add(spec.zero_point)),
            Storage::Value16 => bytes
                .first_chunk()
                .copied()
                .map(i16::from_ne_bytes)
                .map(i32::from),
            Storage::Value32 => bytes.first_chunk().copied().map(i32::from_ne_bytes),
        }
    }

    /// CRC-32 (ISO-HDLC) of the elements in canonical order.
    #[must_use]
    pub fn digest(&self) -> u32 {
        let mut digest = CHECKSUM.digest();
        let mut chunk = [0; 64];
        let mut offset = 0;
        loop {
            let count = self.read_canonical(offset, &mut chunk);
            if count == 0 {
                return digest.finalize();
            }
            digest.update(chunk.get(..count).unwrap_or_default());
            offset += count;
        }
    }

    /// Copies the bytes from `offset` on in canonical order, as many as there are and `into` holds,
    /// and returns their number. `offset` and the length of `into` are multiples of the element
    /// size, or nothing is copied.
    pub fn read_canonical(&self, offset: usize, into: &mut [u8]) -> usize {
        let element = self.spec.storage.bytes();
        let rest = self.bytes.get(offset..).unwrap_or_default();
        if !offset.is_multiple_of(element) || !into.len().is_multiple_of(element) {
            return 0;
        }
        let mut count = 0;
        for (to, &from) in into.iter_mut().zip(rest) {
            *to = from;
            count += 1;
        }
        if cfg!(target_endian = "big") {
            let copied = into.get_mut(..count).unwrap_or_default();
            copied.chunks_exact_mut(element).for_each(<[u8]>::reverse);
        }
        count
    }
}
