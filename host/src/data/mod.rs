//! Labelled images.

/// Images of one size with their classes, held in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// What the user calls it, e.g. `cifar10:test.bin`.
    pub name: String,
    /// Height, width and channels.
    pub shape: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// Image after image, row major, channels last, one byte each.
    pub pixels: Vec<u8>,
    /// One class per image.
    pub labels: Vec<u16>,
}

impl Dataset {
    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Pixels of image `index`, height x width x channels.
    #[must_use]
    pub fn image(&self, index: usize) -> &[u8] {
        let bytes = self.shape.iter().product::<usize>();
        &self.pixels[index * bytes..][..bytes]
    }
}
