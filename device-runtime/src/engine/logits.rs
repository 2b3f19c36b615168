//! The result of an inference.

/// One logit per class, unit 2^-16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logits<'a> {
    values: &'a [i32],
}

impl<'a> Logits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            values: bytemuck::try_cast_slice(bytes).unwrap_or_default(),
        }
    }

    /// All logits, class 0 first.
    #[must_use]
    pub fn as_slice(&self) -> &'a [i32] {
        self.values
    }

    /// Logit of `class`, `None` behind the last.
    #[must_use]
    pub fn get(&self, class: u16) -> Option<i32> {
        self.values.get(usize::from(class)).copied()
    }

    /// All logits, class 0 first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = i32> + 'a {
        self.values.iter().copied()
    }

    /// The class with the largest logit, the lowest such class on ties.
    #[must_use]
    pub fn top1(&self) -> u16 {
        let mut best = 0;
        let mut largest = i32::MIN;
        for (class, logit) in (0u16..).zip(self.iter()) {
            if logit > largest {
                (best, largest) = (class, logit);
            }
        }
        best
    }
}
