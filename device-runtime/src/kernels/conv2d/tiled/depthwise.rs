//! Depthwise convolution, channel by channel.
//!
//! The rows that a band of output rows reads are copied as values of 16 bits of one channel, with the
//! padding around them, so that the loops see a plain image.
//!
//! ```text
//!   scratch | sums of an output row | row 0 | row 1 | ... |
//! ```

use super::finish::{Channel, CodesMut};
use super::{Addend, Epilogue, Source};
use crate::format::{Convolution, Kind, Residual, Storage, TensorSpec};
use crate::kernels::elements::{Elements, ElementsMut, ImageMut};

/// Most taps of a channel.
const MOST_TAPS: usize = 32;

/// Sizes of the parts of scratch.
#[derive(Debug, Clone, Copy)]
struct Room {
    /// Sums of an output row, an even number.
    sums: usize,
    /// Values from row to row, an even number.
    pitch: usize,
    kernel: usize,
    stride: usize,
}

impl Room {
    fn new(convolution: &Convolution, width: usize) -> Self {
        let sums = width.next_multiple_of(2);
        let stride = usize::from(convolution.stride_x);
        let columns = sums.saturating_sub(1) * stride + usize::from(convolution.kernel_width);
        Self {
            sums,
            pitch: (columns + 1).next_multiple_of(2),
            kernel: convolution.kernel_height.into(),
            stride: convolution.stride_y.into(),
        }
    }

    /// Rows of values under `rows` output rows.
    fn value_rows(&self, rows: usize) -> usize {
        rows.saturating_sub(1) * self.stride + self.kernel
    }

    fn words(&self, rows: usize) -> usize {
        self.sums + self.value_rows(rows) * self.pitch / 2
    }
}

fn suits(convolution: &Convolution, outputs: usize) -> bool {
    let channels = usize::from(convolution.input.channels);
    let depthwise = usize::from(convolution.groups) == channels && outputs == channels;
    let narrow = convolution.input.storage != Storage::Value32;
    depthwise && narrow && convolution.taps() <= MOST_TAPS as u64
}

/// Bytes of scratch for `rows` output rows at a time; `None` for what is no depthwise convolution.
pub(super) fn scratch_bytes(kind: &Kind, output: &TensorSpec, rows: u16) -> Option<u64> {
    let Kind::Conv2d {
        convolution,
        residual: Residual::None,
        ..
    } = kind
    else {
        return None;
    };
    let coded = matches!(output.storage, Storage::Code8 { .. });
    if !coded || !suits(convolution, output.channels.into()) {
        return None;
    }
    let rows = rows.clamp(1, output.height.max(1));
    let words = Room::new(convolution, output.width.into()).words(rows.into());
    Some(4 * words as u64)
}

/// Computes `output`, or returns `false` and does nothing if the operation is no depthwise convolution
/// or scratch has no room for a single row.
pub(super) fn run(
    source: &Source<'_>,
    epilogue: &Epilogue<'_>,
    output: &mut ImageMut<'_>,
    scratch: &mut [u32],
) -> bool {
    let (height, width, channels) = (output.height, output.width, output.channels);
    let ElementsMut::Code8 { codes, zero_point } = &mut output.elements else {
        return false;
    };
    let plain = matches!(epilogue.addend, Addend::None);
    let room = Room::new(source.geometry, width);
    if !plain || !suits(source.geometry, channels) || scratch.len() < room.words(1) {
        return false;
    }
    let spare = scratch.len() - room.words(1);
    let more = room.stride * room.pitch / 2;
    let rows = spare.checked_div(more).unwrap_or_default() + 1;
    let mut output = CodesMut {
        width,
        channels,
        zero_point: *zero_point,
        codes,
    };
    let (sums, values) = scratch.split_at_mut(room.sums.min(scratch.len()));
    let mut plane = Plane {
        source: *source,
        room,
        sums: bytemuck::must_cast_slice_mut(sums),
        values: bytemuck::must_cast_slice_mut(values),
        weights: [0; MOST_TAPS],
    };
    for channel in 0..channels {
        plane.unpack(channel);
        let ends = [epilogue.low, epilogue.high].map(|end| end.wrapping_sub(output.zero_point));
        let finish = Channel::new(&epilogue.finish(channel), 0, 0, 0, output.zero_point);
        let mut y = 0;
        while y < height {
            let count = rows.min(height - y);
            plane.copy(channel, y, count);
            for row in 0..count {
                plane.sum(row);
                plane.finish(&finish, ends, [y + row, channel], &mut output);
            }
            y += count;
        }
    }
    true
}

/// One channel of the input.
struct Plane<'a> {
    source: Source<'a>,
    room: Room,
    sums: &'a mut [i32],
    values: &'a mut [i16],
    weights: [i16; MOST_TAPS],
}

impl Plane<'_> {
    fn unpack(&mut self, channel: usize) {
        self.source.weights.unpack(channel, &mut self.weights);
    }

    /// Copies the values under `count` output rows from row `y` on.
    fn copy(&mut self, channel: usize, y: usize, count: usize) {
        let first = y * self.room.stride;
        let (height, width) = (self.source.input.height, self.source.input.width);
        let (top, left) = (self.source.geometry.pad_top, self.source.geometry.pad_left);
        let rows = self.values.chunks_exact_mut(self.room.pitch.max(1));
        for (y, row) in (first..).zip(rows).take(self.room.value_rows(count)) {
            let y = y.checked_sub(top.into()).filter(|&y| y < height);
            let (before, rest) = row.split_at_mut(usize::from(left).min(row.len()));
            let within = if y.is_some() {
                width.min(rest.len())
            } else {
                0
            };
            let (middle, behind) = rest.split_at_mut(within);
            before.fill(0);
            behind.fill(0);
            let from = self.source.input.pixel(y.unwrap_or_default(), 0) + channel;
            copy(
                &self.source.input.elements,
                from,
                self.source.input.channels,
                middle,
            );
        }
    }

    /// Sums of products of output row `row` of the band.
    fn sum(&mut self, row: usize) {
        let first = row * self.room.stride * self.room.pitch;
        let values = self.values.get(first..).unwrap_or_default();
        let geometry = self.source.geometry;
        let kernel = [geometry.kernel_height, geometry.kernel_width];
        #[cfg(lowbit_cortex_m_dsp)]
        if let ([3, 3], 1, Some(weights)) = (kernel, geometry.stride_x, self.weights.first_chunk())
        {
            use crate::kernels::cortex_m_dsp::depthwise_row;
            if depthwise_row(values, self.room.pitch, weights, self.sums) {
                return;
            }
        }
        let columns = usize::from(kernel[1]).max(1);
        let weights = self.weights.chunks_exact(columns).take(kernel[0].into());
        self.sums.fill(0);
        for (values, weights) in values.chunks(self.room.pitch.max(1)).zip(weights) {
            let windows = (0..).step_by(geometry.stride_x.into());
            for (sum, x) in self.sums.iter_mut().zip(windows) {
                let values = values.get(x..).unwrap_or_default();
                for (&value, &weight) in values.iter().zip(weights) {
                    *sum = sum.wrapping_add(i32::from(value).wrapping_mul(weight.into()));
                }
            }
        }
    }

    fn finish(
        &self,
        channel: &Channel,
        ends: [i32; 2],
        [y, index]: [usize; 2],
        output: &mut CodesMut<'_>,
    ) {
        let from = y * output.width * output.channels + index;
        let codes = output.codes.get_mut(from..).unwrap_or_default();
        let sums = self.sums.get(..output.width).unwrap_or_default();
        #[cfg(lowbit_cortex_m_dsp)]
        if channel.is_usual() && ends[0] == 0 {
            use crate::kernels::cortex_m_dsp::finish::finish_row;
            if finish_row(channel, sums, ends[1], output.channels, codes) {
                return;
            }
        }
        let usual = channel.is_usual();
        for (code, &sum) in codes.iter_mut().step_by(output.channels.max(1)).zip(sums) {
            *code = channel.code(sum, 0, 0, ends, usual);
        }
    }
}

/// Every `step`th element from `from` on.
fn copy(elements: &Elements<'_>, from: usize, step: usize, into: &mut [i16]) {
    match elements {
        Elements::Code8 { codes, zero_point } => {
            let zero_point = *zero_point as i16;
            let codes = codes.get(from..).unwrap_or_default();
            for (to, &code) in into.iter_mut().zip(codes.iter().step_by(step.max(1))) {
                *to = zero_point.wrapping_add(code.into());
            }
        }
        Elements::Value16(values) => {
            let values = values.get(from..).unwrap_or_default();
            for (to, &value) in into.iter_mut().zip(values.iter().step_by(step.max(1))) {
                *to = value;
            }
        }
        Elements::Value32(_) => {}
    }
}
