//! A convolution with its part of scratch.

use super::{Band, CHANNELS, Source, Sums, WIDTH, duals, lanes};
use crate::format::{Convolution, Storage};
use crate::kernels::elements::Elements;
use crate::kernels::lanes::{Lanes, ROUND};

/// Words that a product may read behind the last packed row, where weights are 0.
const SLACK: usize = 8;

/// How operands lie in words.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// Codes of two positions and of two channels per word, see [`Lanes`].
    Lanes(Lanes),
    /// Values of 16 bits, two taps per word.
    Duals,
}

impl Form {
    /// The form of `convolution`; `None` if it has none.
    pub(super) fn of(convolution: &Convolution) -> Option<Self> {
        if convolution.groups != 1 {
            return None;
        }
        if let Some(lanes) = Lanes::of(convolution) {
            return Some(Self::Lanes(lanes));
        }
        let is_narrow = convolution.input.storage != Storage::Value32;
        is_narrow.then_some(Self::Duals)
    }

    /// The form in which the convolution of `source` is computed. Sums of codes that outgrow 32 bits
    /// are left to values, whose sums are the accumulators.
    pub(super) fn suiting(source: &Source<'_>) -> Option<Self> {
        match Self::of(source.geometry)? {
            Self::Lanes(_) if !code_sums_fit(source) => Some(Self::Duals),
            form => Some(form),
        }
    }
}

/// Whether sums of weights times codes fit 32 bits, as accumulators, sums of weights times values, do.
fn code_sums_fit(source: &Source<'_>) -> bool {
    let Storage::Code8 { bits } = source.geometry.input.storage else {
        return true;
    };
    let rows = &source.weights;
    let (code, largest) = ((1u64 << bits) - 1, (1i64 << rows.bits) - 1);
    let fits = |zero_point: i64| {
        let weight = zero_point.unsigned_abs();
        let weight = weight.max((zero_point + largest).unsigned_abs());
        // At most 2^48 taps, 8 and 16 bits.
        let sum = (rows.taps as u64).checked_mul(code * weight);
        sum.is_some_and(|sum| sum <= i32::MAX as u64)
    };
    // Without a zero point, codes are values.
    let mut zero_points = rows.zero_points.as_chunks().0.iter();
    source.geometry.input.zero_point == 0
        || zero_points.all(|&zero_point| fits(i16::from_le_bytes(zero_point).into()))
}

/// The parts of scratch, in words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Codes of a pixel outside the image.
    padding: usize,
    /// Words of a packed row, for all positions of a tile.
    row: usize,
    /// Packed rows from an output row to the next.
    step: usize,
    /// Packed rows.
    packed_rows: usize,
    /// Output rows.
    rows: usize,
    /// Taps of a channel, filled up to whole rounds.
    taps: usize,
    /// Words of a packed row and taps of a channel if the rows of a kernel are filled up.
    filled_row: usize,
    filled_taps: usize,
}

impl Room {
    /// Room for `rows` output rows.
    pub(super) fn new(convolution: &Convolution, form: Form, rows: usize) -> Self {
        let channels = usize::from(convolution.input.channels);
        let row_taps = usize::from(convolution.kernel_width) * channels;
        let filled_taps = row_taps.next_multiple_of(2);
        let row_taps = match form {
            Form::Lanes(_) => row_taps,
            Form::Duals => filled_taps,
        };
        let kernel = usize::from(convolution.kernel_height);
        // Rows are shared by the tiles above each other if their kernels overlap.
        let step = kernel.min(convolution.stride_y.into());
        Self {
            padding: channels.div_ceil(4),
            row: row_taps * WIDTH / 2,
            step,
            packed_rows: rows.saturating_sub(1) * step + kernel,
            rows,
            taps: (row_taps * kernel).next_multiple_of(ROUND as usize),
            filled_row: filled_taps * WIDTH / 2,
            filled_taps: (filled_taps * kernel).next_multiple_of(ROUND as usize),
        }
    }

    /// All words, the same number in every form: the host provides them, and does not know which
    /// form is a core's.
    pub(super) fn words(&self) -> usize {
        let packed = self.packed_rows * self.filled_row + SLACK;
        self.padding + WIDTH * (self.rows + self.packed_rows) + packed + self.filled_taps
    }

    fn packed(&self) -> usize {
        self.packed_rows * self.row + SLACK
    }
}

/// A convolution, its packed rows and the unpacked weights of [`CHANNELS`] output channels.
pub(super) struct Operand<'a> {
    source: Source<'a>,
    form: Form,
    room: Room,
    /// Codes of a pixel outside the image.
    padding: &'a mut [u32],
    /// Per output row the sums of the patches' codes.
    patch_sums: &'a mut [[i32; WIDTH]],
    /// Per packed row the sums of its codes.
    row_sums: &'a mut [[i32; WIDTH]],
    packed: &'a mut [u32],
    weights: &'a mut [u32],
    /// Of the weights.
    zero_points: [i32; CHANNELS],
    /// What an activation zero point adds to every sum.
    constants: [i32; CHANNELS],
}

impl<'a> Operand<'a> {
    /// Takes the front of `scratch`, enough for `rows` output rows, and returns the rest.
    pub(super) fn new(
        source: Source<'a>,
        form: Form,
        rows: usize,
        scratch: &'a mut [u32],
    ) -> (Self, &'a mut [u32]) {
        let room = Room::new(source.geometry, form, rows);
        let (padding, scratch) = take(scratch, room.padding);
        let (patch_sums, scratch) = take(scratch, room.rows * WIDTH);
        let (row_sums, scratch) = take(scratch, room.packed_rows * WIDTH);
        let (packed, scratch) = take(scratch, room.packed());
        let (weights, scratch) = take(scratch, room.taps);
        if let Elements::Code8 { zero_point, .. } = source.input.elements {
            let code = zero_point.wrapping_neg() as u8;
            padding.fill(u32::from_ne_bytes([code; 4]));
        }
        let operand = Self {
            source,
            form,
            room,
            padding,
            patch_sums: signed(patch_sums).as_chunks_mut().0,
            row_sums: signed(row_sums).as_chunks_mut().0,
            packed,
            weights,
            zero_points: [0; CHANNELS],
            constants: [0; CHANNELS],
        };
        (operand, scratch)
    }

    /// Packs the rows of the input that `band` reads.
    pub(super) fn pack(&mut self, band: &Band) {
        let geometry = self.source.geometry;
        let (kernel, step) = (usize::from(geometry.kernel_height), self.room.step.max(1));
        let stride = usize::from(geometry.stride_y);
        let count = band.rows.saturating_sub(1) * step + kernel;
        let shared = if band.y > 0 {
            self.keep_shared_rows()
        } else {
            0
        };
        for index in shared..count {
            // Input row of packed row `index`: rows between kernels that do not overlap are left out.
            let y = if step < stride {
                (band.y + index / step) * stride + index % step
            } else {
                band.y * stride + index
            };
            let y = y.checked_sub(geometry.pad_top.into());
            let y = y.filter(|&y| y < self.source.input.height);
            self.pack_row(index, y, band.x);
        }
        if matches!(self.form, Form::Lanes(_)) {
            self.sum_patches(band.rows);
        }
    }

    /// Sums of the codes under the kernel, from those of the packed rows.
    fn sum_patches(&mut self, rows: usize) {
        let (kernel, step) = (
            usize::from(self.source.geometry.kernel_height),
            self.room.step.max(1),
        );
        for row in 0..rows {
            let rows = self.row_sums.get(row * step..).unwrap_or_default();
            let mut sums = [0; WIDTH];
            for row in rows.iter().take(kernel) {
                for (sum, &part) in sums.iter_mut().zip(row) {
                    *sum += part;
                }
            }
            if let Some(patch) = self.patch_sums.get_mut(row) {
                *patch = sums;
            }
        }
    }

    /// Moves the packed rows that the band above, which was a full one, shares with the next one to
    /// the front, and returns their number.
    fn keep_shared_rows(&mut self) -> usize {
        let from = self.room.rows * self.room.step;
        let shared = self.room.packed_rows.saturating_sub(from);
        let (parts, row) = match self.form {
            Form::Lanes(_) => (1, self.room.row),
            Form::Duals => (WIDTH / 2, self.room.row / 2),
        };
        for part in self
            .packed
            .chunks_exact_mut((self.room.packed_rows * row).max(1))
            .take(parts)
        {
            move_to_front(part, from * row, shared * row);
        }
        move_to_front(self.row_sums, from, shared);
        shared
    }

    fn pack_row(&mut self, index: usize, y: Option<usize>, x: usize) {
        match self.form {
            Form::Lanes(lanes) => {
                let into = part_mut(self.packed, index * self.room.row, self.room.row);
                let padding = bytemuck::must_cast_slice(self.padding);
                let sums = lanes::pack_row(&self.source, padding, lanes, [y, Some(x)], into);
                if let Some(row) = self.row_sums.get_mut(index) {
                    *row = sums;
                }
            }
            Form::Duals => {
                let row = self.room.row / 2;
                let half = self.room.packed_rows * row;
                for pair in 0..WIDTH / 2 {
                    let into = part_mut(self.packed, pair * half + index * row, row);
                    duals::pack_row(&self.source, y, x + 2 * pair, into);
                }
            }
        }
    }

    /// Unpacks the weights of the channels from `channel` on.
    pub(super) fn unpack(&mut self, channel: usize) {
        let rows = &self.source.weights;
        match self.form {
            Form::Lanes(lanes) => {
                lanes::unpack(rows, channel, self.weights);
                self.zero_points = [0, 1].map(|index| rows.zero_point(channel + index).into());
                self.constants = self.activation_constants(lanes);
            }
            Form::Duals => duals::unpack(&self.source, channel, self.weights),
        }
    }

    /// `zero_point * sum of weights`, the latter with their own zero points.
    fn activation_constants(&self, lanes: Lanes) -> [i32; CHANNELS] {
        let Elements::Code8 { zero_point, .. } = self.source.input.elements else {
            return [0; CHANNELS];
        };
        if zero_point == 0 {
            return [0; CHANNELS];
        }
        let sums = lanes::weight_sums(self.weights, lanes);
        let taps = self.source.weights.taps as i32;
        core::array::from_fn(|index| {
            let weights = sums[index].wrapping_add(taps.wrapping_mul(self.zero_points[index]));
            zero_point.wrapping_mul(weights)
        })
    }

    /// Sums of products of the tile in row `row` of the band, still without the
    /// [`Correction`].
    pub(super) fn product(&self, row: usize, sums: &mut Sums) {
        let first = row * self.room.step;
        match self.form {
            Form::Lanes(lanes) => {
                let patch = self.packed.get(first * self.room.row..).unwrap_or_default();
                lanes::product(patch, self.weights, lanes, sums);
            }
            Form::Duals => {
                let row = self.room.row / 2;
                let half = self.room.packed_rows * row;
                let patch = |pair| {
                    let patch = self.packed.get(pair * half + first * row..);
                    patch.unwrap_or_default()
                };
                duals::product([patch(0), patch(1)], self.weights, sums);
            }
        }
    }

    /// Calls `take` with the row, the sums of products and the sums of codes of the tiles in the first
    /// `rows` rows of the band. Returns `false`, having done nothing, if there are not that many.
    #[cfg(lowbit_armv7m)]
    pub(super) fn products(
        &self,
        rows: usize,
        mut take: impl FnMut(usize, &crate::kernels::cortex_m_dsp::finish::AlignedSums, &[i32; WIDTH]),
    ) -> bool {
        #[cfg(lowbit_cortex_m_dsp)]
        use crate::kernels::cortex_m_dsp::DualsProducts;
        use crate::kernels::cortex_m_dsp::LanesProducts;
        use crate::kernels::cortex_m_dsp::finish::AlignedSums;
        let step = self.room.step * self.room.row;
        let mut sums = AlignedSums::default();
        let patch_sums = (0..rows).zip(self.patch_sums.iter());
        match self.form {
            Form::Lanes(lanes) => {
                let products = LanesProducts::new(self.packed, self.weights, lanes, step, rows);
                let Some(products) = products else {
                    return false;
                };
                for (row, patch_sums) in patch_sums {
                    products.product(row, &mut sums.0);
                    take(row, &sums, patch_sums);
                }
            }
            #[cfg(not(lowbit_cortex_m_dsp))]
            Form::Duals => {
                for (row, patch_sums) in patch_sums {
                    self.product(row, &mut sums.0);
                    take(row, &sums, patch_sums);
                }
            }
            #[cfg(lowbit_cortex_m_dsp)]
            Form::Duals => {
                let half = self.room.packed_rows * self.room.row / 2;
                let second = self.packed.get(half..).unwrap_or_default();
                let patches = [&*self.packed, second];
                let products = DualsProducts::new(patches, self.weights, step / 2, rows);
                let Some(products) = products else {
                    return false;
                };
                for (row, patch_sums) in patch_sums {
                    products.product(row, &mut sums.0);
                    take(row, &sums, patch_sums);
                }
            }
        }
        true
    }

    /// What turns products of codes into products of values.
    pub(super) fn correction(&self) -> Correction {
        Correction {
            zero_points: self.zero_points,
            constants: self.constants,
        }
    }

    /// No accumulator of `channel` is larger, [`Correction::constants`] aside.
    pub(super) fn reach(&self, channel: usize) -> u32 {
        reach(&self.source, channel)
    }

    /// Sums of the codes in the patches of row `row` of the band.
    pub(super) fn patch_sums(&self, row: usize) -> [i32; WIDTH] {
        self.patch_sums.get(row).copied().unwrap_or_default()
    }
}

/// No sum of products of a channel is larger, be they of codes or of values.
pub(super) fn reach(source: &Source<'_>, channel: usize) -> u32 {
    let input = &source.geometry.input;
    let activation = match input.storage {
        Storage::Code8 { bits } => input.zero_point.unsigned_abs().saturating_add(1 << bits),
        Storage::Value16 => 1 << 15,
        Storage::Value32 => u32::MAX,
    };
    let rows = &source.weights;
    let weight = u32::from(rows.zero_point(channel).unsigned_abs()) + (1 << rows.bits);
    let taps = rows.taps as u32;
    activation.saturating_mul(weight).saturating_mul(taps)
}

/// The accumulator is `sum + zero_point * patch_sum + constant`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Correction {
    /// Of the weights; 0 if the products are those of values.
    pub(super) zero_points: [i32; CHANNELS],
    /// What the activations' zero point contributes.
    pub(super) constants: [i32; CHANNELS],
}

impl Correction {
    /// Turns sums into accumulators.
    pub(super) fn apply(&self, sums: &mut Sums, patch_sums: [i32; WIDTH]) {
        let corrections = self.zero_points.into_iter().zip(self.constants);
        for (sums, (zero_point, constant)) in sums.iter_mut().zip(corrections) {
            for (sum, patch) in sums.iter_mut().zip(patch_sums) {
                let correction = zero_point.wrapping_mul(patch).wrapping_add(constant);
                *sum = sum.wrapping_add(correction);
            }
        }
    }
}

/// Copies the `length` elements from `from` on to the first `length`.
fn move_to_front<T: Copy>(elements: &mut [T], from: usize, length: usize) {
    let (front, rest) = elements.split_at_mut(from.min(elements.len()));
    for (to, &element) in front.iter_mut().zip(rest.iter().take(length)) {
        *to = element;
    }
    // What lies less than its length behind the front is read before it is overwritten.
    for index in from..length {
        if let Some(&element) = elements.get(from + index)
            && let Some(to) = elements.get_mut(index)
        {
            *to = element;
        }
    }
}

fn signed(words: &mut [u32]) -> &mut [i32] {
    bytemuck::must_cast_slice_mut(words)
}

fn part_mut(words: &mut [u32], from: usize, length: usize) -> &mut [u32] {
    let rest = words.get_mut(from..);
    rest.and_then(|rest| rest.get_mut(..length))
        .unwrap_or_default()
}

/// The first `length` words, as many as there are, and the rest.
fn take(words: &mut [u32], length: usize) -> (&mut [u32], &mut [u32]) {
    words.split_at_mut(length.min(words.len()))
}
