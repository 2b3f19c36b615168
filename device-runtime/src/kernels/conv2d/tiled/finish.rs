//! From accumulators to codes of the output.

#[cfg(lowbit_armv7m)]
use super::Band;
use super::operand::Operand;
use super::{Addend, CHANNELS, Epilogue, Sums, WIDTH};
use crate::arithmetic::clamp;
use crate::calibration::Collector;
use crate::kernels::elements::{Elements, ElementsMut, Image, ImageMut};

/// The output's codes, to be written.
pub(super) struct CodesMut<'a> {
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) zero_point: i32,
    pub(super) codes: &'a mut [u8],
}

/// What is added before the shift, for code of a core's own.
#[cfg(any(lowbit_armv6m, lowbit_riscv32m))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) enum Added {
    Nothing,
    /// The code that is overwritten.
    InPlace,
    /// The addends of the tile.
    Listed,
}

/// What a tile is made of.
#[derive(Debug, Default)]
#[repr(C)]
pub(in crate::kernels) struct Tile {
    /// Sums of products, not corrected.
    pub(in crate::kernels) sums: Sums,
    /// What is added, before its multiplication.
    pub(in crate::kernels) addends: Sums,
    /// Sums of the patches' codes.
    pub(in crate::kernels) patch_sums: [i32; WIDTH],
}

/// The parameters of one channel: its code is `clamp((multiplier * (sum + zero_point * patch_sum) +
/// addend_multiplier * addend + bias) >> shift)`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(in crate::kernels) struct Channel {
    zero_point: i32,
    multiplier: i32,
    bias: [u32; 2],
    /// Shift of the upper half of the sum: not negative once it is [lifted](Self::lift).
    upper_shift: i32,
    addend_multiplier: i32,
}

/// Bits by which codes that are added are lifted with the channels, see [`Channel::lift`].
pub(in crate::kernels) const ADDEND_LIFT: u32 = 4;
/// Bits by which sums are, where they have to.
pub(in crate::kernels) const SUM_LIFT: u32 = 5;

/// Where the tensor that skips the convolution has its codes.
#[derive(Clone, Copy)]
pub(super) enum Skipped<'a> {
    Nothing,
    /// In the output's place.
    InPlace,
    /// The accumulators of a projection.
    Projection,
    Elsewhere {
        codes: &'a [u8],
        image: Image<'a>,
        zero_point: i32,
        stride: usize,
        channel_offset: usize,
    },
}

impl<'a> Skipped<'a> {
    pub(super) fn new(addend: &Addend<'a>) -> Self {
        match *addend {
            Addend::None => Self::Nothing,
            Addend::Projection { .. } => Self::Projection,
            Addend::Identity { input: None, .. } => Self::InPlace,
            Addend::Identity {
                input: Some(image),
                stride,
                channel_offset,
                ..
            } => match image.elements {
                Elements::Code8 { codes, zero_point } => Self::Elsewhere {
                    codes,
                    image,
                    zero_point,
                    stride,
                    channel_offset,
                },
                Elements::Value16(_) | Elements::Value32(_) => Self::Nothing,
            },
        }
    }

    /// Added to a code to give the value.
    fn zero_point(&self, output: &CodesMut<'_>) -> i32 {
        match self {
            Self::Nothing | Self::Projection => 0,
            Self::InPlace => output.zero_point,
            Self::Elsewhere { zero_point, .. } => *zero_point,
        }
    }
}

/// Whether the output's zero point can become a part of every bias, see [`Channel::new`]. The sum, the
/// addend and the bias are up to 2^61 each, which leaves as much for the zero point.
pub(super) fn zero_point_fits(epilogue: &Epilogue<'_>, output: &ImageMut<'_>) -> bool {
    let ElementsMut::Code8 { zero_point, .. } = output.elements else {
        return true;
    };
    let size = u64::from(zero_point.unsigned_abs());
    let mut channels = (0..output.channels).map(|channel| epilogue.finish(channel));
    let fits = |shift: u8| size <= (1u64 << 61).wrapping_shr(shift.into());
    zero_point == 0 || channels.all(|finish| finish.is_constant() || fits(finish.affine.shift))
}

/// The parameters of the channels of a tile.
pub(super) struct Finish<'a> {
    first: usize,
    /// Channels of the tile that the output has.
    count: usize,
    channels: [Channel; CHANNELS],
    skipped: &'a Skipped<'a>,
    /// Smallest and largest code.
    ends: [i32; 2],
    /// Bits by which sums are lifted with the channels; `None` if those are not.
    lifted: Option<u32>,
    /// Bits by which addends are.
    addend_lift: u32,
}

impl<'a> Finish<'a> {
    /// Parameters of the channels from `first` on, which `operand` has just unpacked.
    pub(super) fn new(
        epilogue: &Epilogue<'_>,
        skipped: &'a Skipped<'a>,
        first: usize,
        operand: &Operand<'_>,
        output: &CodesMut<'_>,
    ) -> Self {
        let correction = operand.correction();
        let mut channels = core::array::from_fn(|index| {
            let zero_point = correction.zero_points.get(index).copied();
            let constant = correction.constants.get(index).copied();
            Channel::new(
                &epilogue.finish(first + index),
                zero_point.unwrap_or_default(),
                constant.unwrap_or_default(),
                skipped.zero_point(output),
                output.zero_point,
            )
        });
        let ends = [epilogue.low, epilogue.high].map(|end| end.wrapping_sub(output.zero_point));
        let addend_lift = match skipped {
            Skipped::InPlace | Skipped::Elsewhere { .. } => ADDEND_LIFT,
            Skipped::Nothing | Skipped::Projection => 0,
        };
        let reach = |index| operand.reach(first + index);
        let lifted = Channel::lift(&mut channels, addend_lift, reach);
        Self {
            first,
            count: CHANNELS.min(output.channels - first.min(output.channels)),
            channels,
            skipped,
            ends,
            lifted,
            addend_lift: lifted.map_or(0, |_| addend_lift),
        }
    }

    /// Writes the codes of the tile at row `y` and column `x`.
    pub(super) fn tile(&self, tile: &mut Tile, place: [usize; 2], output: &mut CodesMut<'_>) {
        let [y, x] = place;
        if let Skipped::Elsewhere { .. } = self.skipped {
            self.fetch(place, &mut tile.addends);
        }
        let pixel = (y * output.width + x) * output.channels + self.first;
        #[cfg(any(lowbit_armv6m, lowbit_riscv32m))]
        if x + WIDTH <= output.width && self.tile_on_core(tile, pixel, output) {
            return;
        }
        let positions = WIDTH.min(output.width - x.min(output.width));
        let channels = self.channels.iter().take(self.count);
        let rows = tile.sums.iter().zip(&tile.addends);
        for ((index, channel), (sums, addends)) in channels.enumerate().zip(rows) {
            let places = (pixel + index..).step_by(output.channels.max(1));
            let positions = sums
                .iter()
                .zip(addends)
                .zip(&tile.patch_sums)
                .take(positions);
            for (((&sum, &addend), &patch_sum), place) in positions.zip(places) {
                let Some(code) = output.codes.get_mut(place) else {
                    continue;
                };
                let addend = match self.skipped {
                    Skipped::InPlace => i32::from(*code) << self.addend_lift,
                    _ => addend,
                };
                *code = channel.code(sum, patch_sum, addend, self.ends, self.lifted);
            }
        }
    }

    /// The tile, with all positions, by the core's own code. `false`, having done nothing, if that does
    /// not suit it.
    #[cfg(any(lowbit_armv6m, lowbit_riscv32m))]
    #[inline(always)]
    fn tile_on_core(&self, tile: &Tile, pixel: usize, output: &mut CodesMut<'_>) -> bool {
        #[cfg(lowbit_armv6m)]
        use crate::kernels::armv6m::finish_tile;
        #[cfg(lowbit_riscv32m)]
        use crate::kernels::riscv32::finish_tile;
        let (CHANNELS, [0, highest], Some(lift)) = (self.count, self.ends, self.lifted) else {
            return false;
        };
        let added = match self.skipped {
            Skipped::Nothing => Added::Nothing,
            Skipped::InPlace => Added::InPlace,
            Skipped::Projection | Skipped::Elsewhere { .. } => Added::Listed,
        };
        let codes = output.codes.get_mut(pixel..).unwrap_or_default();
        let (channels, pixel) = (&self.channels, output.channels);
        finish_tile(channels, tile, (added, lift), highest, pixel, codes)
    }

    /// Hands out the accumulators of the output elements that the tile at row `y` and column `x`
    /// has.
    pub(super) fn collect(
        &self,
        accumulators: &Sums,
        [y, x]: [usize; 2],
        output: &CodesMut<'_>,
        collector: &Collector<'_>,
    ) {
        let pixels = output.codes.len().checked_div(output.channels);
        let first = y * output.width + x;
        let positions = WIDTH
            .min(output.width - x.min(output.width))
            .min(pixels.unwrap_or_default().saturating_sub(first));
        for (channel, accumulators) in (self.first..).zip(accumulators).take(self.count) {
            let accumulators = accumulators.get(..positions).unwrap_or_default();
            collector.add(channel, accumulators);
        }
    }

    /// The codes of a tensor that lies elsewhere, lifted.
    fn fetch(&self, [y, x]: [usize; 2], addends: &mut Sums) {
        let Skipped::Elsewhere {
            codes,
            image,
            zero_point,
            stride,
            channel_offset,
        } = *self.skipped
        else {
            return;
        };
        for (channel, addends) in (self.first..).zip(addends) {
            let from = channel.checked_sub(channel_offset);
            let from = from.filter(|&from| from < image.channels);
            for (x, addend) in (x..).zip(addends) {
                let code = from.and_then(|from| {
                    let place = image.pixel(y * stride, x * stride) + from;
                    codes.get(place).copied()
                });
                // Where there is no code, the code that stands for 0.
                let code = code.map_or(zero_point.wrapping_neg(), i32::from);
                *addend = code << self.addend_lift;
            }
        }
    }

    /// The first tiles of `band` by the core's own code. Returns how many rows it suits: all, but for
    /// a last one that is not whole, or none.
    #[cfg(lowbit_armv7m)]
    pub(super) fn band_on_core(
        &self,
        operand: &Operand<'_>,
        band: &Band,
        output: &mut CodesMut<'_>,
    ) -> usize {
        use crate::kernels::cortex_m_dsp::finish::{Added, Codes};
        let added = match self.skipped {
            Skipped::Nothing => Added::Nothing,
            Skipped::InPlace => Added::InPlace,
            Skipped::Projection | Skipped::Elsewhere { .. } => return 0,
        };
        let whole = band.x + WIDTH <= output.width && self.count == CHANNELS;
        let (true, [0, highest], Some(lift)) = (whole, self.ends, self.lifted) else {
            return 0;
        };
        let row = output.width * output.channels;
        let first = band.y * row + band.x * output.channels + self.first;
        let into = output.codes.get_mut(first..).unwrap_or_default();
        let pitches = [row, output.channels];
        let Some(mut codes) = Codes::new((added, lift), highest, pitches, band.rows, into) else {
            return 0;
        };
        let rows = codes.rows();
        let done = operand.products(rows, |row, sums, patch_sums| {
            codes.write(row, &self.channels, sums, patch_sums);
        });
        if done { rows } else { 0 }
    }
}

impl Channel {
    /// Parameters of `finish`; `constant` is added to every sum and `addend_zero_point` to every
    /// addend.
    pub(super) fn new(
        finish: &super::super::Finish,
        zero_point: i32,
        constant: i32,
        addend_zero_point: i32,
        output_zero_point: i32,
    ) -> Self {
        let (affine, addend_multiplier) = (finish.affine, finish.addend_multiplier);
        if finish.is_constant() {
            return Self::constant(finish, output_zero_point);
        }
        // All constants become a part of the bias; the output's zero point comes off the code.
        let mut bias = affine.bias;
        for (a, b) in [
            (affine.multiplier, constant),
            (addend_multiplier, addend_zero_point),
        ] {
            if b != 0 {
                bias = bias.wrapping_add(i64::from(a).wrapping_mul(b.into()));
            }
        }
        if output_zero_point != 0 {
            let zero_point = i64::from(output_zero_point).wrapping_shl(affine.shift.into());
            bias = bias.wrapping_sub(zero_point);
        }
        Self {
            zero_point,
            multiplier: affine.multiplier,
            bias: halves(bias),
            upper_shift: i32::from(affine.shift) - 32,
            addend_multiplier,
        }
    }

    /// A channel whose code does not depend on sums.
    #[cold]
    fn constant(finish: &super::super::Finish, output_zero_point: i32) -> Self {
        let code = finish.value(0, 0).wrapping_sub(output_zero_point);
        Self {
            zero_point: 0,
            multiplier: 0,
            bias: halves(i64::from(code) << 32),
            upper_shift: 0,
            addend_multiplier: 0,
        }
    }

    /// Lifts channels that are computed together: with multipliers and biases times a power of two they
    /// are shifted by at least 32 bits, and only the upper half of what is shifted counts. From then on
    /// addends are `2^addend_lift` times as large. Where that leaves multipliers no room, and sums have
    /// some as `reaches` says, those are lifted, too. Returns by how many bits sums are; `None`, having
    /// done nothing, if all that does not do.
    pub(super) fn lift(
        channels: &mut [Self],
        addend_lift: u32,
        reaches: impl Fn(usize) -> u32,
    ) -> Option<u32> {
        if addend_lift == 0 && channels.iter().all(|channel| channel.upper_shift >= 0) {
            return Some(0);
        }
        Self::lift_low(channels, addend_lift, reaches)
    }

    /// The same for channels of which one has a low shift, or addends.
    #[inline(never)]
    fn lift_low(
        channels: &mut [Self],
        addend_lift: u32,
        reaches: impl Fn(usize) -> u32,
    ) -> Option<u32> {
        let fit = |lift: u32| {
            let mut channels = channels.iter().enumerate();
            channels.all(|(index, channel)| {
                channel.room([lift, addend_lift]).is_some()
                    && (lift == 0 || reaches(index) < 1 << (31 - lift))
            })
        };
        let lift = [0, SUM_LIFT].into_iter().find(|&lift| fit(lift))?;
        for channel in channels {
            channel.raise([lift, addend_lift]);
        }
        Some(lift)
    }

    /// By how many bits the channel has to be lifted with its sums and addends; `None` if there is no room.
    fn room(&self, [sum_lift, addend_lift]: [u32; 2]) -> Option<u32> {
        let least = self.upper_shift.min(0).unsigned_abs();
        let (mut lift, mut room) = (least.max(sum_lift), true);
        if self.addend_multiplier != 0 {
            lift = lift.max(addend_lift);
            let zeros = self.addend_multiplier.unsigned_abs().leading_zeros();
            room = zeros >= 2 + lift - addend_lift;
        }
        // Times sums and lifted addends of 32 bits, a multiplier below 2^31 and one below 2^30 leave 2^61
        // for the bias.
        let [_, upper] = self.bias.map(|word| word as i32);
        room &= self.multiplier.unsigned_abs().leading_zeros() >= 1 + lift - sum_lift;
        room &= (upper ^ upper >> 31).leading_zeros() >= 3 + lift;
        (lift == 0 || room).then_some(lift)
    }

    /// Lifts the channel if there is [`room`](Self::room).
    fn raise(&mut self, lifts: [u32; 2]) {
        let Some(lift) = self.room(lifts).filter(|&lift| lift > 0) else {
            return;
        };
        let [sum_lift, addend_lift] = lifts;
        self.multiplier <<= lift - sum_lift;
        self.addend_multiplier <<= lift.saturating_sub(addend_lift);
        self.bias = halves(self.bias() << lift);
        // From 31 on only the sign is left.
        self.upper_shift = (self.upper_shift + lift as i32).min(31);
    }

    fn bias(&self) -> i64 {
        let [lower, upper] = self.bias;
        (u64::from(upper) << 32 | u64::from(lower)) as i64
    }

    /// `lifted` is what [`lift`](Self::lift) returned; `addend` is lifted.
    #[inline(always)]
    pub(super) fn code(
        &self,
        sum: i32,
        patch: i32,
        addend: i32,
        [low, high]: [i32; 2],
        lifted: Option<u32>,
    ) -> u8 {
        let sum = sum.wrapping_add(self.zero_point.wrapping_mul(patch));
        let sum = sum << lifted.unwrap_or_default();
        let exact = i64::from(self.multiplier)
            .wrapping_mul(sum.into())
            .wrapping_add(i64::from(self.addend_multiplier).wrapping_mul(addend.into()))
            .wrapping_add(self.bias());
        if lifted.is_none() {
            let shift = self.upper_shift.wrapping_add(32) as u32;
            return clamp(exact.wrapping_shr(shift), low, high) as u8;
        }
        let code = ((exact >> 32) as i32).wrapping_shr(self.upper_shift as u32);
        code.max(low).min(high) as u8
    }
}

fn halves(number: i64) -> [u32; 2] {
    [number as u32, (number >> 32) as u32]
}
