//! Memory for an engine.

/// Bytes that start at a multiple of 8, as an engine wants them.
#[derive(Debug, Clone)]
pub struct Arena {
    words: Vec<u64>,
}

impl Arena {
    /// At least `bytes` bytes, all 0.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self {
            words: vec![0; bytes.div_ceil(size_of::<u64>())],
        }
    }

    /// The bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.words)
    }
}
