//! The caller's memory, cut into tensors.

use crate::format::TensorSpec;

/// Memory that starts at a multiple of [`TENSOR_ALIGNMENT`](crate::format::TENSOR_ALIGNMENT).
#[derive(Debug)]
pub(super) struct Arena<'a> {
    bytes: &'a mut [u8],
}

impl<'a> Arena<'a> {
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes }
    }

    /// `length` bytes at `offset`; empty if they do not exist, which a checked model rules out.
    pub(super) fn slice_mut(&mut self, offset: u32, length: usize) -> &mut [u8] {
        let rest = self.bytes.get_mut(offset as usize..);
        rest.and_then(|rest| rest.get_mut(..length))
            .unwrap_or_default()
    }

    /// The elements of a tensor; empty if they do not exist.
    pub(super) fn tensor(&self, spec: &TensorSpec) -> &[u8] {
        let rest = self.bytes.get(spec.offset as usize..);
        rest.and_then(|rest| rest.get(..spec.bytes()))
            .unwrap_or_default()
    }
}
