//! The integer network before it is packed.

use lowbit_runtime::format::{BLOB_ALIGNMENT, Blob, Kind, TensorSpec};

/// A named step, see [`lowbit_runtime::format::Operation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Name of the layer in the trained network.
    pub name: String,
    /// What it computes.
    pub kind: Kind,
    /// Where the result goes.
    pub output: TensorSpec,
}

/// Integer operations, their parameters and their places in the arena.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Name of the network.
    pub name: String,
    /// Rows, columns and channels of the input pixels.
    pub input: [u16; 3],
    /// First byte of the pixels in the arena.
    pub pixels: u32,
    /// Number of classes.
    pub classes: u16,
    /// The steps in execution order.
    pub steps: Vec<Step>,
    /// Bytes of arena that an inference needs.
    pub arena_bytes: u32,
    /// The blob section.
    pub blobs: Blobs,
}

/// The blob section while it is being built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blobs {
    bytes: Vec<u8>,
}

impl Blobs {
    /// Appends `content` at the next aligned offset.
    pub fn push(&mut self, content: &[u8]) -> Blob {
        self.bytes
            .resize(self.bytes.len().next_multiple_of(BLOB_ALIGNMENT), 0);
        let offset = self.bytes.len() as u32;
        self.bytes.extend_from_slice(content);
        Blob {
            offset,
            length: content.len() as u32,
        }
    }

    /// All bytes so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}
