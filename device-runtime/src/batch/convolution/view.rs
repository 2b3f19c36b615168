//! Images as convolutions read them: with what lies around them, in pairs or quads of channels.

use std::array;
use std::vec::Vec;

use super::quads::Corrections;
use super::source::{Source, Weights};
use crate::batch::lanes::Vectors;
use crate::batch::tensor::{IMAGES, Lanes, Pair, Quad, Tensor};

/// Neighbouring channels of one pixel that are multiplied and added at once.
pub(super) trait Unit: Copy {
    /// One per channel.
    type Weights: Copy;

    fn multiply_add<V: Vectors>(&self, sums: V::Sums, weights: Self::Weights) -> V::Sums;
}

impl Unit for Pair {
    type Weights = [i16; 2];

    #[inline(always)]
    fn multiply_add<V: Vectors>(&self, sums: V::Sums, weights: [i16; 2]) -> V::Sums {
        V::multiply_add(sums, self, weights)
    }
}

impl Unit for Quad {
    type Weights = [i8; 4];

    #[inline(always)]
    fn multiply_add<V: Vectors>(&self, sums: V::Sums, weights: [i8; 4]) -> V::Sums {
        V::multiply_add_quad(sums, self, weights)
    }
}

/// Memory for images with what lies around them.
#[derive(Debug, Default)]
pub(in crate::batch) struct Padded {
    pairs: Vec<Pair>,
    quads: Vec<Quad>,
}

/// An image to be read without looking at its borders.
#[derive(Clone, Copy)]
struct View<'a, U> {
    values: &'a [U],
    width: usize,
    /// Per pixel.
    units: usize,
}

/// A source and the image that it reads.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a> {
    source: &'a Source,
    image: Image<'a>,
}

#[derive(Clone, Copy)]
enum Image<'a> {
    Pairs(View<'a, Pair>, &'a [[i16; 2]]),
    Quads(View<'a, Quad>, &'a [[i8; 4]], &'a Corrections),
}

impl Source {
    /// With the input that an output of `height` x `width` reads.
    #[inline(always)]
    pub(super) fn operand<'a>(
        &'a self,
        tensors: &'a [Tensor],
        padded: &'a mut Padded,
        [height, width]: [usize; 2],
    ) -> Operand<'a> {
        let tensor = &tensors[self.input];
        let reach = |axis: usize, size: usize| (size - 1) * self.stride[axis] + self.kernel[axis];
        let size = [reach(0, height), reach(1, width)];
        let image = match &self.weights {
            Weights::Pairs(weights) => {
                Image::Pairs(self.pair_view(tensor, &mut padded.pairs, size), weights)
            }
            Weights::Quads(weights, corrections) => {
                let zero_point = corrections.zero_point;
                let view = self.quad_view(tensor, &mut padded.quads, size, zero_point);
                Image::Quads(view, weights, corrections)
            }
        };
        Operand {
            source: self,
            image,
        }
    }

    /// The image itself if nothing around it is read.
    fn pair_view<'a>(
        &self,
        tensor: &'a Tensor,
        padded: &'a mut Vec<Pair>,
        [rows, columns]: [usize; 2],
    ) -> View<'a, Pair> {
        let units = tensor.pairs();
        if self.padding == [0, 0] && rows <= tensor.height && columns <= tensor.width {
            return View {
                values: tensor.narrow(),
                width: tensor.width,
                units,
            };
        }
        padded.clear();
        padded.resize(rows * columns * units, Pair::ZERO);
        let [top, left] = self.padding;
        let length = tensor.width.min(columns - left.min(columns)) * units;
        let sources = tensor.narrow().chunks_exact((tensor.width * units).max(1));
        let places = padded.chunks_exact_mut((columns * units).max(1));
        for (place, source) in places.skip(top).zip(sources) {
            place[left * units..][..length].copy_from_slice(&source[..length]);
        }
        View {
            values: padded,
            width: columns,
            units,
        }
    }

    #[inline(always)]
    fn quad_view<'a>(
        &self,
        tensor: &Tensor,
        padded: &'a mut Vec<Quad>,
        [rows, columns]: [usize; 2],
        zero_point: i32,
    ) -> View<'a, Quad> {
        let (pairs, units) = (tensor.pairs(), tensor.channels.div_ceil(4));
        let zero_point = zero_point as i16;
        padded.clear();
        padded.resize(
            rows * columns * units,
            Quad([[-zero_point as u8; 4]; IMAGES]),
        );
        let [top, left] = self.padding;
        let width = tensor.width.min(columns - left.min(columns));
        let sources = tensor.narrow().chunks_exact((tensor.width * pairs).max(1));
        let places = padded.chunks_exact_mut((columns * units).max(1));
        for (place, source) in places.skip(top).zip(sources) {
            let pixels = source.chunks_exact(pairs.max(1)).take(width);
            let places = place[left * units..].chunks_exact_mut(units.max(1));
            for (place, pixel) in places.zip(pixels) {
                for (quad, pairs) in place.iter_mut().zip(pixel.chunks(2)) {
                    let first = &pairs[0];
                    let second = pairs.get(1).unwrap_or(&Pair::ZERO);
                    *quad = Quad::codes(first, second, zero_point);
                }
            }
        }
        View {
            values: padded,
            width: columns,
            units,
        }
    }
}

impl<'a> Operand<'a> {
    /// At `PIXELS` output pixels from column `x` of row `y` on.
    #[inline(always)]
    pub(super) fn at<V: Vectors, const PIXELS: usize>(&self, y: usize, x: usize) -> At<'a, PIXELS> {
        let mut at = At {
            operand: *self,
            place: [y, x],
            totals: [[0; IMAGES]; PIXELS],
        };
        if let Image::Quads(view, _, corrections) = &self.image
            && corrections.are_shifted
        {
            at.totals = at.total::<V>(view, corrections.last_channels);
        }
        at
    }
}

/// An operand at a few neighbouring output pixels.
pub(super) struct At<'a, const PIXELS: usize> {
    operand: Operand<'a>,
    place: [usize; 2],
    /// Sums of all codes that a pixel reads, where weights are shifted.
    totals: [Lanes; PIXELS],
}

impl<const PIXELS: usize> At<'_, PIXELS> {
    /// Sums of products of the channels of a tile.
    #[inline(always)]
    pub(super) fn sums<V: Vectors, const CHANNELS: usize>(
        &self,
        tile: usize,
    ) -> [[V::Sums; CHANNELS]; PIXELS] {
        match &self.operand.image {
            Image::Pairs(view, weights) => self.products::<V, Pair, CHANNELS>(view, weights, tile),
            Image::Quads(view, weights, _) => {
                self.products::<V, Quad, CHANNELS>(view, weights, tile)
            }
        }
    }

    /// The sums of a channel from the sums of products.
    #[inline(always)]
    pub(super) fn exact(&self, mut sums: Lanes, pixel: usize, channel: usize) -> Lanes {
        let Image::Quads(_, _, corrections) = &self.operand.image else {
            return sums;
        };
        let correction = corrections.channels[channel];
        for (sum, total) in sums.iter_mut().zip(self.totals[pixel]) {
            let shifted = correction.shift.wrapping_mul(total);
            *sum = sum.wrapping_add(shifted).wrapping_add(correction.constant);
        }
        sums
    }

    #[inline(always)]
    fn products<V: Vectors, U: Unit, const CHANNELS: usize>(
        &self,
        view: &View<'_, U>,
        weights: &[U::Weights],
        tile: usize,
    ) -> [[V::Sums; CHANNELS]; PIXELS] {
        let source = self.operand.source;
        let tile = &source.tiles[tile];
        let (weights, _) = weights[tile.weights..].as_chunks::<CHANNELS>();
        let mut taps = weights.chunks_exact(tile.units.max(1));
        let step = source.stride[1] * view.units;
        let [y, x] = self.place;
        let mut sums = [[V::zero(); CHANNELS]; PIXELS];
        for ky in 0..source.kernel[0] {
            let row = (y * source.stride[0] + ky) * view.width + x * source.stride[1];
            for kx in 0..source.kernel[1] {
                let start = (row + kx) * view.units + tile.first;
                let rows: [&[U]; PIXELS] =
                    array::from_fn(|pixel| &view.values[start + pixel * step..][..tile.units]);
                let Some(weights) = taps.next() else {
                    return sums;
                };
                for (index, weights) in weights.iter().enumerate() {
                    for (sums, row) in sums.iter_mut().zip(&rows) {
                        for (sum, weight) in sums.iter_mut().zip(weights) {
                            *sum = row[index].multiply_add::<V>(*sum, *weight);
                        }
                    }
                }
            }
        }
        sums
    }

    #[inline(always)]
    fn total<V: Vectors>(&self, view: &View<'_, Quad>, last: [i8; 4]) -> [Lanes; PIXELS] {
        let source = self.operand.source;
        let step = source.stride[1] * view.units;
        let [y, x] = self.place;
        let mut sums = [V::zero(); PIXELS];
        for ky in 0..source.kernel[0] {
            let row = (y * source.stride[0] + ky) * view.width + x * source.stride[1];
            let units = source.kernel[1] * view.units;
            for (pixel, sum) in sums.iter_mut().enumerate() {
                let start = row * view.units + pixel * step;
                let quads = view.values[start..][..units].iter().enumerate();
                for (index, quad) in quads {
                    let is_last = (index + 1) % view.units == 0;
                    let weights = if is_last { last } else { [1; 4] };
                    *sum = V::multiply_add_quad(*sum, quad, weights);
                }
            }
        }
        sums.map(V::to_array)
    }
}
