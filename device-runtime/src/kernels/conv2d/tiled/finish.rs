//! From accumulators to codes of the output.

use super::{Addend, CHANNELS, Epilogue, Sums};
use crate::arithmetic::clamp;
use crate::kernels::conv2d::Finish as Channel;
use crate::kernels::elements::{Elements, Image};

/// The output's codes, to be written.
pub(super) struct CodesMut<'a> {
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) zero_point: i32,
    pub(super) codes: &'a mut [u8],
}

/// Where the tensor that skips the convolution has its codes.
#[derive(Clone, Copy)]
enum Skipped<'a> {
    Nothing,
    /// In the output's place.
    InPlace,
    Elsewhere {
        codes: &'a [u8],
        image: Image<'a>,
        stride: usize,
        channel_offset: usize,
    },
}

/// The parameters of the channels of a tile.
pub(super) struct Finish<'a> {
    first: usize,
    /// Channels of the tile that the output has.
    count: usize,
    channels: [Channel; CHANNELS],
    skipped: Skipped<'a>,
    zero_point: i32,
}

impl<'a> Finish<'a> {
    pub(super) fn new(epilogue: &Epilogue<'a>, first: usize, output: &CodesMut<'_>) -> Self {
        let mut channels = core::array::from_fn(|index| epilogue.finish(first + index));
        let (skipped, zero_point) = skipped(epilogue, output);
        for channel in &mut channels {
            // The addend's zero point becomes a part of the bias.
            let part = i64::from(channel.addend_multiplier).wrapping_mul(zero_point.into());
            channel.affine.bias = channel.affine.bias.wrapping_add(part);
        }
        Self {
            first,
            count: CHANNELS.min(output.channels - first.min(output.channels)),
            channels,
            skipped,
            zero_point: output.zero_point,
        }
    }

    /// Writes the codes of the tile at row `y` and column `x`.
    pub(super) fn tile(
        &self,
        main: &Sums,
        projected: Option<&Sums>,
        [y, x]: [usize; 2],
        output: &mut CodesMut<'_>,
    ) {
        let pixel = (y * output.width + x) * output.channels + self.first;
        for (index, channel) in self.channels.iter().enumerate().take(self.count) {
            let places = (pixel + index..).step_by(output.channels.max(1));
            let columns = x..output.width;
            for ((position, x), place) in (0..main[index].len()).zip(columns).zip(places) {
                let addend = match projected {
                    Some(projected) => projected[index][position],
                    None => self.skipped(channel, [y, x], index, place, output),
                };
                let value = channel.code(main[index][position], addend, self.zero_point);
                if let Some(code) = output.codes.get_mut(place) {
                    *code = value;
                }
            }
        }
    }

    fn skipped(
        &self,
        channel: &Channel,
        [y, x]: [usize; 2],
        index: usize,
        place: usize,
        output: &CodesMut<'_>,
    ) -> i32 {
        match self.skipped {
            Skipped::Nothing => 0,
            Skipped::InPlace => output.codes.get(place).copied().map_or(0, i32::from),
            Skipped::Elsewhere {
                codes,
                image,
                stride,
                channel_offset,
            } => {
                let from = (self.first + index).checked_sub(channel_offset);
                match from.filter(|&from| from < image.channels) {
                    Some(from) => {
                        let place = image.pixel(y * stride, x * stride) + from;
                        codes.get(place).copied().map_or(0, i32::from)
                    }
                    // No value is 0, which is this code.
                    None => channel.nothing(&image),
                }
            }
        }
    }
}

impl Channel {
    /// The code that stands for the value 0 of `image`.
    fn nothing(&self, image: &Image<'_>) -> i32 {
        match image.elements {
            Elements::Code8 { zero_point, .. } => zero_point.wrapping_neg(),
            Elements::Value16(_) | Elements::Value32(_) => 0,
        }
    }

    #[inline(always)]
    fn code(&self, sum: i32, addend: i32, zero_point: i32) -> u8 {
        let addend = i64::from(self.addend_multiplier).wrapping_mul(addend.into());
        let value = self.affine.apply(sum, addend);
        clamp(value, self.low, self.high).wrapping_sub(zero_point) as u8
    }
}

/// The skipping tensor and its zero point.
fn skipped<'a>(epilogue: &Epilogue<'a>, output: &CodesMut<'_>) -> (Skipped<'a>, i32) {
    match epilogue.addend {
        Addend::None | Addend::Projection { .. } => (Skipped::Nothing, 0),
        Addend::Identity { input: None, .. } => (Skipped::InPlace, output.zero_point),
        Addend::Identity {
            input: Some(image),
            stride,
            channel_offset,
            ..
        } => match image.elements {
            Elements::Code8 { codes, zero_point } => {
                let elsewhere = Skipped::Elsewhere {
                    codes,
                    image,
                    stride,
                    channel_offset,
                };
                (elsewhere, zero_point)
            }
            Elements::Value16(_) | Elements::Value32(_) => (Skipped::Nothing, 0),
        },
    }
}
