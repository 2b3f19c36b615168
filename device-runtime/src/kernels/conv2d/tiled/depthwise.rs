//! Depthwise convolution, channel by channel.
//!
//! The rows that a band of output rows reads are copied as values of 16 bits of one channel, with the
//! padding around them, so that the loops see a plain image.
//!
//! ```text
//!   scratch | sums of the output rows | row 0 | row 1 | ... |
//! ```

use super::finish::{Channel, CodesMut};
use super::operand::reach;
use super::{Addend, Epilogue, Source};
use crate::format::{Convolution, Kind, Residual, Storage, TensorSpec};
use crate::kernels::elements::{Elements, ElementsMut, ImageMut};

/// Most taps of a channel.
const MOST_TAPS: usize = 32;

/// Sizes of the parts of scratch.
#[derive(Debug, Clone, Copy)]
struct Room {
    /// Sums of an output row, an even number.
    width: usize,
    /// Values from row to row, an even number.
    pitch: usize,
    kernel: usize,
    stride: usize,
}

impl Room {
    fn new(convolution: &Convolution, width: usize) -> Self {
        let width = width.next_multiple_of(2);
        let stride = usize::from(convolution.stride_x);
        let columns = width.saturating_sub(1) * stride + usize::from(convolution.kernel_width);
        Self {
            width,
            pitch: columns.next_multiple_of(2),
            kernel: convolution.kernel_height.into(),
            stride: convolution.stride_y.into(),
        }
    }

    /// Rows of values under `rows` output rows.
    fn value_rows(&self, rows: usize) -> usize {
        rows.saturating_sub(1) * self.stride + self.kernel
    }

    fn words(&self, rows: usize) -> usize {
        rows * self.width + self.value_rows(rows) * self.pitch / 2
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
    let more = room.words(2) - room.words(1);
    let rows = height.min(spare.checked_div(more).unwrap_or_default() + 1);
    let mut output = CodesMut {
        width,
        channels,
        zero_point: *zero_point,
        codes,
    };
    let (sums, values) = scratch.split_at_mut((rows * room.width).min(scratch.len()));
    let mut plane = Plane {
        source: *source,
        room,
        sums: bytemuck::must_cast_slice_mut(sums),
        values: bytemuck::must_cast_slice_mut(values),
        weights: [0; MOST_TAPS],
    };
    plane.values.fill(0);
    for channel in 0..channels {
        plane.unpack(channel);
        let ends = [epilogue.low, epilogue.high].map(|end| end.wrapping_sub(output.zero_point));
        let finish = Channel::new(&epilogue.finish(channel), 0, 0, 0, output.zero_point);
        let mut finish = [finish];
        let lifted = Channel::lift(&mut finish, 0, |_| reach(source, channel));
        let mut y = 0;
        while y < height {
            let count = rows.min(height - y);
            plane.copy(channel, y, count);
            plane.sum(count);
            plane.finish((&finish[0], lifted), ends, [y, count, channel], &mut output);
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

    /// Copies the values under `count` output rows from row `y` on. The columns left and right of the
    /// image are 0 from the start.
    fn copy(&mut self, channel: usize, y: usize, count: usize) {
        let first = y * self.room.stride;
        let input = &self.source.input;
        let (top, left) = (self.source.geometry.pad_top, self.source.geometry.pad_left);
        let (top, left) = (usize::from(top), usize::from(left));
        let pitch = self.room.pitch.max(1);
        let values = pitch * self.room.value_rows(count);
        let values = self.values.get_mut(..values).unwrap_or_default();
        let above = top.saturating_sub(first) * pitch;
        let (above, values) = values.split_at_mut(above.min(values.len()));
        let from = first.saturating_sub(top);
        let within = input.height.saturating_sub(from) * pitch;
        let (within, below) = values.split_at_mut(within.min(values.len()));
        above.fill(0);
        below.fill(0);
        let columns = input.width.min(pitch - left.min(pitch));
        let source = input.pixel(from, 0) + channel;
        let within = within.get_mut(left..).unwrap_or_default();
        let pitches = [input.width * input.channels, input.channels];
        copy(&input.elements, source, pitches, within, [pitch, columns]);
    }

    /// Sums of products of the first `count` output rows of the band.
    fn sum(&mut self, count: usize) {
        let room = self.room;
        let geometry = self.source.geometry;
        let kernel = [geometry.kernel_height, geometry.kernel_width];
        let sums = self.sums.get_mut(..count * room.width).unwrap_or_default();
        #[cfg(lowbit_cortex_m_dsp)]
        if let ([3, 3], [1, 1], Some(weights)) = (
            kernel,
            [geometry.stride_y, geometry.stride_x],
            self.weights.first_chunk(),
        ) {
            use crate::kernels::cortex_m_dsp::depthwise_rows;
            if depthwise_rows(self.values, room.pitch, weights, room.width, sums) {
                return;
            }
        }
        let columns = usize::from(kernel[1]).max(1);
        sums.fill(0);
        for (row, sums) in sums.chunks_exact_mut(room.width.max(1)).enumerate() {
            let first = row * room.stride * room.pitch;
            let values = self.values.get(first..).unwrap_or_default();
            let weights = self.weights.chunks_exact(columns).take(kernel[0].into());
            for (values, weights) in values.chunks(room.pitch.max(1)).zip(weights) {
                let windows = (0..).step_by(usize::from(geometry.stride_x).max(1));
                for (sum, x) in sums.iter_mut().zip(windows) {
                    let values = values.get(x..).unwrap_or_default();
                    for (&value, &weight) in values.iter().zip(weights) {
                        *sum = sum.wrapping_add(i32::from(value).wrapping_mul(weight.into()));
                    }
                }
            }
        }
    }

    /// Writes `count` rows from row `y` on.
    fn finish(
        &self,
        (channel, lifted): (&Channel, Option<u32>),
        ends: [i32; 2],
        [y, count, index]: [usize; 3],
        output: &mut CodesMut<'_>,
    ) {
        let row = output.width * output.channels;
        let codes = output.codes.get_mut(y * row + index..).unwrap_or_default();
        let sums = self.sums.get(..count * self.room.width).unwrap_or_default();
        #[cfg(lowbit_armv7m)]
        if let ([0, highest], Some(lift)) = (ends, lifted) {
            use crate::kernels::cortex_m_dsp::finish::finish_rows;
            let widths = [self.room.width, output.width];
            let pitches = [row, output.channels];
            if finish_rows((channel, lift), sums, widths, highest, pitches, codes) {
                return;
            }
        }
        let rows = sums.chunks_exact(self.room.width.max(1));
        for (sums, codes) in rows.zip(codes.chunks_mut(row.max(1))) {
            let codes = codes.iter_mut().step_by(output.channels.max(1));
            for (code, &sum) in codes.zip(sums).take(output.width) {
                *code = channel.code(sum, 0, 0, ends, lifted);
            }
        }
    }
}

/// Copies rows of `columns` elements, `row` and `step` apart, to rows that are `pitch` apart.
fn copy(
    elements: &Elements<'_>,
    from: usize,
    [row, step]: [usize; 2],
    into: &mut [i16],
    [pitch, columns]: [usize; 2],
) {
    #[cfg(lowbit_cortex_m_dsp)]
    if let Elements::Code8 { codes, zero_point } = elements {
        let codes = codes.get(from..).unwrap_or_default();
        let zero_point = *zero_point as i16;
        use crate::kernels::cortex_m_dsp::depthwise_copy;
        if depthwise_copy(codes, [row, step], zero_point, into, [pitch, columns]) {
            return;
        }
    }
    for (index, into) in into.chunks_mut(pitch.max(1)).enumerate() {
        let from = from + index * row;
        let into = into.iter_mut().take(columns);
        for (to, from) in into.zip((from..).step_by(step.max(1))) {
            *to = elements.get(from) as i16;
        }
    }
}
