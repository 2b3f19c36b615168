//! Convolutions: a tile of output channels at a few neighbouring pixels at a time.

use std::vec::Vec;

use std::array;

use super::epilogue::Finish;
use super::lanes::Vectors;
use super::operators::Run;
use super::tensor::{Lanes, Pair, Tensor};
use crate::format::Convolution;

/// A convolution with requantization and what is added before rounding.
#[derive(Debug)]
pub(super) struct ConvolutionStep {
    pub(super) main: Source,
    /// One per output channel.
    pub(super) finish: Vec<Finish>,
    pub(super) low: i32,
    pub(super) high: i32,
    pub(super) addend: Addend,
}

/// What is added to an accumulator before rounding.
#[derive(Debug)]
pub(super) enum Addend {
    None,
    Identity {
        input: usize,
        stride: usize,
        channel_offset: usize,
    },
    Projection(Source),
}

/// A convolution up to its accumulators.
#[derive(Debug)]
pub(super) struct Source {
    input: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    /// Rows above and columns left of the image.
    padding: [usize; 2],
    /// Output channels per tile.
    together: usize,
    tiles: Vec<Tile>,
    /// Tile after tile `[kernel row][kernel column][pair][channel of the tile]`.
    weights: Vec<[i16; 2]>,
}

/// Output channels that are computed together.
#[derive(Debug, Clone, Copy)]
struct Tile {
    /// Pairs of input channels that any of them reads.
    first_pair: usize,
    pairs: usize,
    /// First weight.
    weights: usize,
}

/// Output channels per tile of a convolution. Channels of several groups may share a tile, with
/// weights of 0 for the inputs of the others.
pub(super) fn tile_channels(geometry: &Convolution, channels: usize) -> usize {
    let groups = usize::from(geometry.groups).max(1);
    match channels / groups {
        per_group if groups == 1 || per_group.is_multiple_of(4) => 4,
        // Two channels of a depthwise convolution read one pair.
        1 => 2,
        _ => 1,
    }
}

impl Source {
    /// In tiles of `together` output channels. `rows` holds one row of weights per output channel:
    /// kernel row, kernel column, input channel of the group.
    pub(super) fn new(
        input: usize,
        geometry: &Convolution,
        channels: usize,
        together: usize,
        rows: &[i16],
    ) -> Self {
        let groups = usize::from(geometry.groups).max(1);
        let layout = Layout {
            area: usize::from(geometry.kernel_height) * usize::from(geometry.kernel_width),
            group_inputs: usize::from(geometry.input.channels) / groups,
            group_outputs: (channels / groups).max(1),
            channels,
            rows,
        };
        let (mut tiles, mut weights) = (Vec::new(), Vec::new());
        for first in (0..channels).step_by(together) {
            let last = (first + together).min(channels) - 1;
            let inputs = layout.inputs(first).start..layout.inputs(last).end;
            let (first_pair, end) = (inputs.start / 2, inputs.end.div_ceil(2));
            tiles.push(Tile {
                first_pair,
                pairs: end - first_pair,
                weights: weights.len(),
            });
            for tap in 0..layout.area {
                for pair in first_pair..end {
                    for channel in first..first + together {
                        weights
                            .push([0, 1].map(|half| layout.weight(channel, tap, 2 * pair + half)));
                    }
                }
            }
        }
        Self {
            input,
            kernel: [geometry.kernel_height, geometry.kernel_width].map(usize::from),
            stride: [geometry.stride_y, geometry.stride_x].map(usize::from),
            padding: [geometry.pad_top, geometry.pad_left].map(usize::from),
            together,
            tiles,
            weights,
        }
    }

    /// The image with the zeros around it that an output of `height` x `width` reads.
    fn view<'a>(
        &self,
        tensors: &'a [Tensor],
        padded: &'a mut Vec<Pair>,
        [height, width]: [usize; 2],
    ) -> View<'a> {
        let tensor = &tensors[self.input];
        let reach = |axis: usize, size: usize| (size - 1) * self.stride[axis] + self.kernel[axis];
        let (rows, columns) = (reach(0, height), reach(1, width));
        let pairs = tensor.pairs();
        if self.padding == [0, 0] && rows <= tensor.height && columns <= tensor.width {
            return View {
                values: tensor.narrow(),
                width: tensor.width,
                pairs,
            };
        }
        padded.clear();
        padded.resize(rows * columns * pairs, Pair::ZERO);
        let [top, left] = self.padding;
        let length = tensor.width.min(columns - left.min(columns)) * pairs;
        let sources = tensor.narrow().chunks_exact((tensor.width * pairs).max(1));
        let places = padded.chunks_exact_mut((columns * pairs).max(1));
        for (place, source) in places.skip(top).zip(sources) {
            place[left * pairs..][..length].copy_from_slice(&source[..length]);
        }
        View {
            values: padded,
            width: columns,
            pairs,
        }
    }
}

/// Where the weights of an output channel lie.
struct Layout<'a> {
    /// Taps per input channel.
    area: usize,
    group_inputs: usize,
    group_outputs: usize,
    channels: usize,
    rows: &'a [i16],
}

impl Layout<'_> {
    /// The input channels that an output channel reads.
    fn inputs(&self, channel: usize) -> std::ops::Range<usize> {
        let first = channel / self.group_outputs * self.group_inputs;
        first..first + self.group_inputs
    }

    /// 0 for channels that do not exist or are not read.
    fn weight(&self, channel: usize, tap: usize, input: usize) -> i16 {
        let inputs = self.inputs(channel);
        if channel >= self.channels || !inputs.contains(&input) {
            return 0;
        }
        let row = channel * self.area * self.group_inputs;
        self.rows[row + tap * self.group_inputs + input - inputs.start]
    }
}

/// An image to be read without looking at its borders.
#[derive(Clone, Copy)]
struct View<'a> {
    values: &'a [Pair],
    width: usize,
    pairs: usize,
}

/// The convolution and, with a projection, the second one.
#[derive(Clone, Copy)]
struct Operand<'a> {
    source: &'a Source,
    view: View<'a>,
}

impl Operand<'_> {
    /// Sums of the channels of a tile at the output pixels `x ..` of row `y`.
    #[inline(always)]
    fn sums<V: Vectors, const CHANNELS: usize, const PIXELS: usize>(
        &self,
        tile: usize,
        y: usize,
        x: usize,
    ) -> [[V::Sums; CHANNELS]; PIXELS] {
        let Self { source, view } = self;
        let tile = &source.tiles[tile];
        let (weights, _) = source.weights[tile.weights..].as_chunks::<CHANNELS>();
        let mut taps = weights.chunks_exact(tile.pairs.max(1));
        let step = source.stride[1] * view.pairs;
        let mut sums = [[V::zero(); CHANNELS]; PIXELS];
        for ky in 0..source.kernel[0] {
            let row = (y * source.stride[0] + ky) * view.width + x * source.stride[1];
            for kx in 0..source.kernel[1] {
                let start = (row + kx) * view.pairs + tile.first_pair;
                let rows: [&[Pair]; PIXELS] =
                    array::from_fn(|pixel| &view.values[start + pixel * step..][..tile.pairs]);
                let Some(weights) = taps.next() else {
                    return sums;
                };
                for (index, weights) in weights.iter().enumerate() {
                    for (sums, row) in sums.iter_mut().zip(&rows) {
                        for (sum, weight) in sums.iter_mut().zip(weights) {
                            *sum = V::multiply_add(*sum, &row[index], *weight);
                        }
                    }
                }
            }
        }
        sums
    }
}

/// Computes the output of `step`.
#[inline(always)]
pub(super) fn run<V: Vectors>(step: &ConvolutionStep, run: Run<'_>) {
    let size = [run.output.height, run.output.width];
    let [first, second] = run.padded;
    let main = Operand {
        source: &step.main,
        view: step.main.view(run.tensors, first, size),
    };
    let projection = match &step.addend {
        Addend::Projection(source) => Some(Operand {
            source,
            view: source.view(run.tensors, second, size),
        }),
        Addend::None | Addend::Identity { .. } => None,
    };
    let pass = Pass {
        step,
        main,
        projection,
        tensors: run.tensors,
    };
    match step.main.together {
        1 => pass.rows::<V, 1>(run.output),
        2 => pass.rows::<V, 2>(run.output),
        _ => pass.rows::<V, 4>(run.output),
    }
}

struct Pass<'a> {
    step: &'a ConvolutionStep,
    main: Operand<'a>,
    projection: Option<Operand<'a>>,
    tensors: &'a [Tensor],
}

impl Pass<'_> {
    #[inline(always)]
    fn rows<V: Vectors, const CHANNELS: usize>(&self, output: &mut Tensor) {
        for y in 0..output.height {
            let mut x = 0;
            while x < output.width {
                if V::PIXELS == 4 && x + 4 <= output.width {
                    self.pixels::<V, CHANNELS, 4>(y, x, output);
                    x += 4;
                } else {
                    self.pixels::<V, CHANNELS, 1>(y, x, output);
                    x += 1;
                }
            }
        }
    }

    #[inline(always)]
    fn pixels<V: Vectors, const CHANNELS: usize, const PIXELS: usize>(
        &self,
        y: usize,
        x: usize,
        output: &mut Tensor,
    ) {
        for tile in 0..self.step.main.tiles.len() {
            let main = self.main.sums::<V, CHANNELS, PIXELS>(tile, y, x);
            let projected = self
                .projection
                .map(|operand| operand.sums::<V, CHANNELS, PIXELS>(tile, y, x));
            for pixel in 0..PIXELS {
                let mut values = [[0; super::IMAGES]; CHANNELS];
                for (index, values) in values.iter_mut().enumerate() {
                    let channel = tile * CHANNELS + index;
                    let Some(finish) = self.step.finish.get(channel) else {
                        break;
                    };
                    let sums = V::to_array(main[pixel][index]);
                    let addend = match &projected {
                        Some(projected) => Some(V::to_array(projected[pixel][index])),
                        None => self.skipped(y, x + pixel, channel),
                    };
                    let bounds = [self.step.low, self.step.high];
                    *values = finish.values(&sums, addend.as_ref(), bounds);
                }
                store(output, y, x + pixel, tile * CHANNELS, &values);
            }
        }
    }

    /// What the skipping tensor adds; nothing beside its channels or without one.
    #[inline(always)]
    fn skipped(&self, y: usize, x: usize, channel: usize) -> Option<Lanes> {
        let Addend::Identity {
            input,
            stride,
            channel_offset,
        } = self.step.addend
        else {
            return None;
        };
        let tensor = &self.tensors[input];
        let channel = channel.checked_sub(channel_offset)?;
        (channel < tensor.channels).then(|| tensor.get(y * stride, x * stride, channel))
    }
}

/// Writes the channels from `first` on, as many as there are.
#[inline(always)]
fn store<const CHANNELS: usize>(
    output: &mut Tensor,
    y: usize,
    x: usize,
    first: usize,
    values: &[Lanes; CHANNELS],
) {
    let (pairs, pixel) = (output.pairs(), y * output.width + x);
    let channels = output.channels - first;
    if CHANNELS > 1 && !output.narrow().is_empty() {
        let places = &mut output.narrow_mut()[pixel * pairs + first / 2..];
        let (values, _) = values.as_chunks::<2>();
        for (place, [left, right]) in places.iter_mut().zip(values).take(channels.div_ceil(2)) {
            for (place, (left, right)) in place.0.iter_mut().zip(left.iter().zip(right)) {
                *place = [*left as i16, *right as i16];
            }
        }
        return;
    }
    for (index, values) in values.iter().enumerate().take(channels) {
        output.set(y, x, first + index, *values);
    }
}
