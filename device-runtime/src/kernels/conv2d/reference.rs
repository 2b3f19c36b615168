//! Convolution of any shape, element type and width: the definition of all others.
//!
//! Output positions are processed in tiles, as many as scratch has room for. Their patches are
//! gathered once; then the weights of two output channels at a time are unpacked and multiplied
//! with all of them. Activations enter as `code + zero_point`, so padding is 0.

mod operand;
mod patches;

use super::{Addend, Epilogue, Finish, Source};
use crate::kernels::dot::{CHANNELS, POSITIONS};
use crate::kernels::elements::ImageMut;
use operand::Operand;
use patches::Place;

/// Computes `output`. `scratch` has room for at least one position.
pub(super) fn run(
    source: &Source<'_>,
    epilogue: &Epilogue<'_>,
    output: &mut ImageMut<'_>,
    scratch: &mut [i16],
) {
    let (mut operands, tile) = Operands::new(*source, &epilogue.addend, output.channels, scratch);
    let positions = output.height * output.width;
    let mut place = Place { y: 0, x: 0 };
    let mut first = 0;
    while first < positions {
        let count = tile.min(positions - first);
        let next = operands.gather(place, count, output.width);
        let span = Span {
            first,
            count,
            place,
        };
        run_span(&mut operands, epilogue, &span, output);
        place = next;
        first += count;
    }
}

/// Output positions that are processed together.
struct Span {
    /// Index of the first.
    first: usize,
    /// How many there are.
    count: usize,
    /// Where the first lies.
    place: Place,
}

fn run_span(
    operands: &mut Operands<'_>,
    epilogue: &Epilogue<'_>,
    span: &Span,
    output: &mut ImageMut<'_>,
) {
    let mut channel = 0;
    while channel < output.channels {
        let count = operands.together(channel, output.channels);
        operands.unpack(channel, count);
        let channels = Channels {
            first: channel,
            count,
            finish: core::array::from_fn(|index| epilogue.finish(channel + index)),
        };
        run_channels(operands, epilogue, span, &channels, output);
        channel += count;
    }
}

/// Output channels that are processed together.
struct Channels {
    first: usize,
    count: usize,
    finish: [Finish; CHANNELS],
}

fn run_channels(
    operands: &Operands<'_>,
    epilogue: &Epilogue<'_>,
    span: &Span,
    channels: &Channels,
    output: &mut ImageMut<'_>,
) {
    let mut place = span.place;
    for position in (0..span.count).step_by(POSITIONS) {
        let sums = operands.sums(channels.first, position, span.count);
        for (position, sums) in (position..span.count).zip(&sums) {
            let pixel = (span.first + position) * output.channels;
            let channel = (channels.first..).zip(&channels.finish).zip(sums);
            for ((channel, finish), sums) in channel.take(channels.count) {
                if let Some(collector) = &epilogue.collector {
                    collector.add(channel, &[sums.main]);
                }
                let skipped = epilogue.skipped(place, pixel, channel, output);
                let value = finish.value(sums.main, sums.projected.wrapping_add(skipped));
                output.elements.set(pixel + channel, value);
            }
            place = place.next(output.width);
        }
    }
}

/// The accumulators of an output element; a projection that does not exist gives 0.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    main: i32,
    projected: i32,
}

/// The convolution and, with a projection, the second one.
struct Operands<'a> {
    main: Operand<'a>,
    projection: Option<Operand<'a>>,
}

impl<'a> Operands<'a> {
    /// Divides scratch between the operands; also returns the number of positions it has room for.
    fn new(
        source: Source<'a>,
        addend: &Addend<'a>,
        outputs: usize,
        scratch: &'a mut [i16],
    ) -> (Self, usize) {
        let projected = match addend {
            Addend::Projection { source, .. } => Some(source),
            Addend::None | Addend::Identity { .. } => None,
        };
        let weights = source.weights_room() + projected.map_or(0, Source::weights_room);
        let patch = source.patch_room() + projected.map_or(0, Source::patch_room);
        let room = scratch.len().saturating_sub(weights);
        let tile = room.checked_div(patch).unwrap_or(1).max(1);
        let (main, rest) = Operand::new(source, outputs, tile, scratch);
        let projection = projected.map(|source| Operand::new(*source, outputs, tile, rest).0);
        (Self { main, projection }, tile)
    }

    /// Gathers the patches of `count` positions from `place` on; returns the place behind them.
    fn gather(&mut self, place: Place, count: usize, width: usize) -> Place {
        if let Some(projection) = &mut self.projection {
            projection.gather(place, count, width);
        }
        self.main.gather(place, count, width)
    }

    /// Number of output channels from `channel` on that read the same patches, at most
    /// [`CHANNELS`].
    fn together(&self, channel: usize, channels: usize) -> usize {
        let same = |operand: &Operand<'_>| operand.group(channel) == operand.group(channel + 1);
        let both = same(&self.main) && self.projection.as_ref().is_none_or(same);
        if both && channel + 1 < channels {
            CHANNELS
        } else {
            1
        }
    }

    fn unpack(&mut self, channel: usize, count: usize) {
        self.main.unpack(channel, count);
        if let Some(projection) = &mut self.projection {
            projection.unpack(channel, count);
        }
    }

    fn sums(&self, channel: usize, position: usize, count: usize) -> [[Sums; CHANNELS]; POSITIONS] {
        let mut sums = [[Sums::default(); CHANNELS]; POSITIONS];
        let main = self.main.sums(channel, position, count);
        for (sum, main) in sums.as_flattened_mut().iter_mut().zip(main.as_flattened()) {
            sum.main = *main;
        }
        if let Some(projection) = &self.projection {
            let projected = projection.sums(channel, position, count);
            let projected = projected.as_flattened();
            for (sum, projected) in sums.as_flattened_mut().iter_mut().zip(projected) {
                sum.projected = *projected;
            }
        }
        sums
    }
}

impl Epilogue<'_> {
    /// Value that the skipping tensor adds to `channel` at `place`, whose first channel is element
    /// `pixel` of the output; 0 beside its channels or without one.
    fn skipped(&self, place: Place, pixel: usize, channel: usize, output: &ImageMut<'_>) -> i32 {
        let Addend::Identity {
            input,
            stride,
            channel_offset,
            ..
        } = self.addend
        else {
            return 0;
        };
        let Some(input) = input else {
            return output.elements.as_elements().get(pixel + channel);
        };
        match channel.checked_sub(channel_offset) {
            Some(channel) if channel < input.channels => {
                let pixel = input.pixel(place.y * stride, place.x * stride);
                input.elements.get(pixel + channel)
            }
            _ => 0,
        }
    }
}
