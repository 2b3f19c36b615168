//! Patches: the input values under the kernel at an output position, in the order of the weights.

use super::Source;

/// A place of the output image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) y: usize,
    pub(super) x: usize,
}

impl Place {
    /// The next place in an image of `width` columns, row major.
    pub(super) fn next(self, width: usize) -> Self {
        if self.x + 1 < width {
            return Self {
                x: self.x + 1,
                ..self
            };
        }
        Self {
            y: self.y + 1,
            x: 0,
        }
    }
}

impl Source<'_> {
    /// Writes the patch at `place` of channel group `group` into `row`; what lies outside the image
    /// is 0, and so is the rest of `row` behind the last tap.
    pub(super) fn gather(&self, group: usize, place: Place, row: &mut [i16]) {
        let geometry = self.geometry;
        let kernel_row = usize::from(geometry.kernel_width) * self.group_channels();
        let taps = (kernel_row * usize::from(geometry.kernel_height)).min(row.len());
        let (row, padding) = row.split_at_mut(taps);
        padding.fill(0);
        let top = start(place.y, geometry.stride_y, geometry.pad_top);
        let left = start(place.x, geometry.stride_x, geometry.pad_left);
        for (y, into) in (top..).zip(row.chunks_exact_mut(kernel_row.max(1))) {
            match inside(y, self.input.height) {
                Some(y) => self.gather_row(group, y, left, into),
                None => into.fill(0),
            }
        }
    }

    /// One row of the kernel: the columns from `left` on of input row `y`.
    fn gather_row(&self, group: usize, y: usize, left: i32, into: &mut [i16]) {
        let channels = self.group_channels();
        let columns = i32::from(self.geometry.kernel_width);
        let width = self.input.width as i32;
        let first = (-left).clamp(0, columns);
        let end = (width - left).clamp(first, columns);
        let (before, rest) = split(into, first as usize * channels);
        let (within, after) = split(rest, (end - first) as usize * channels);
        before.fill(0);
        after.fill(0);
        let x = (left + first) as usize;
        if self.geometry.groups == 1 {
            let from = self.input.pixel(y, x);
            self.input.elements.copy_values(from, within);
            return;
        }
        for (x, tap) in (x..).zip(within.chunks_exact_mut(channels.max(1))) {
            let from = self.input.pixel(y, x) + group * channels;
            self.input.elements.copy_values(from, tap);
        }
    }
}

/// First row or column under the kernel; negative in the padding.
fn start(place: usize, stride: u8, padding: u8) -> i32 {
    place as i32 * i32::from(stride) - i32::from(padding)
}

/// `coordinate` if it lies within `0 .. size`.
pub(super) fn inside(coordinate: i32, size: usize) -> Option<usize> {
    let coordinate = usize::try_from(coordinate).ok()?;
    (coordinate < size).then_some(coordinate)
}

fn split(slice: &mut [i16], at: usize) -> (&mut [i16], &mut [i16]) {
    slice.split_at_mut(at.min(slice.len()))
}
