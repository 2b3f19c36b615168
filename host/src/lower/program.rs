//! The integer network before it is packed.

use lowbit_runtime::calibration::Reference;
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
    /// The layers that can be calibrated, in execution order.
    pub calibration: Vec<CalibratedLayer>,
}

/// Layers of the fast plan.
const FAST_LAYERS: usize = 5;

impl Program {
    /// Marks the layers of the fast plan: the first, and where feature maps get another size, as that
    /// is where errors of the layers before have added up; further ones in the middle of what is
    /// longest in between. docs/calibration.md compares choices.
    pub fn choose_fast_layers(&mut self) {
        let sizes: Vec<[u16; 2]> = (self.calibration.iter())
            .map(|layer| &self.steps[layer.step].output)
            .map(|output| [output.height, output.width])
            .collect();
        let mut chosen: Vec<usize> = (0..sizes.len())
            .filter(|&index| index == 0 || sizes[index] != sizes[index - 1])
            .take(FAST_LAYERS)
            .collect();
        while chosen.len() < FAST_LAYERS.min(sizes.len()) {
            let ends = chosen.iter().skip(1).copied().chain([sizes.len()]);
            let gaps = chosen.iter().copied().zip(ends);
            // The first of those that are longest.
            let longest = gaps.min_by_key(|(start, end)| std::cmp::Reverse(end - start));
            let Some((start, end)) = longest.filter(|(start, end)| end - start > 1) else {
                break;
            };
            let place = chosen.partition_point(|&index| index <= start);
            chosen.insert(place, usize::midpoint(start, end));
        }
        for (index, layer) in self.calibration.iter_mut().enumerate() {
            layer.fast = chosen.contains(&index);
        }
    }

    /// The same, and forgets the statistics of all other layers.
    pub fn keep_fast_layers(&mut self) {
        self.choose_fast_layers();
        self.calibration.retain(|layer| layer.fast);
    }
}

/// A layer that can be calibrated on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalibratedLayer {
    /// Its step, a convolution.
    pub step: usize,
    /// Per output channel what is known of its accumulators; all have the same shift.
    pub references: Vec<Reference>,
    /// Whether it belongs to the fast plan.
    pub fast: bool,
}

/// The blob section while it is being built or changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blobs {
    bytes: Vec<u8>,
}

impl Blobs {
    /// Those of a packed file.
    pub(crate) fn of(section: &[u8]) -> Self {
        Self {
            bytes: section.to_vec(),
        }
    }

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

    /// Element `index` of a blob of elements of `N` bytes.
    pub(crate) fn get<const N: usize>(&self, blob: Blob, index: usize) -> [u8; N] {
        let mut element = [0; N];
        let place = blob.offset as usize + index * N;
        element.copy_from_slice(&self.bytes[place..][..N]);
        element
    }

    /// Writes an element of a blob of elements of as many bytes.
    pub(crate) fn put(&mut self, blob: Blob, index: usize, element: &[u8]) {
        let place = blob.offset as usize + index * element.len();
        self.bytes[place..][..element.len()].copy_from_slice(element);
    }

    /// Drops everything from the offset `end` on.
    pub(crate) fn truncate(&mut self, end: usize) {
        self.bytes.truncate(end);
    }

    /// All bytes so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}
