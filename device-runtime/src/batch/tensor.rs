//! Tensors of many images.

use std::vec;
use std::vec::Vec;

use crate::format::{Storage, TensorSpec};

/// Images that are processed together: the 32-bit numbers of the widest vector.
pub const IMAGES: usize = 16;

/// Two neighbouring channels of one pixel, image after image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Pair(pub(super) [[i16; 2]; IMAGES]);

impl Pair {
    pub(super) const ZERO: Self = Self([[0; 2]; IMAGES]);
}

/// The codes of four neighbouring channels of one pixel, image after image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Quad(pub(super) [[u8; 4]; IMAGES]);

impl Quad {
    /// The codes of values.
    #[inline(always)]
    pub(super) fn codes(first: &Pair, second: &Pair, zero_point: i16) -> Self {
        let mut codes = [[0; 4]; IMAGES];
        let values = first.0.iter().zip(&second.0);
        for (codes, ([a, b], [c, d])) in codes.iter_mut().zip(values) {
            *codes = [a, b, c, d].map(|value| value.wrapping_sub(zero_point) as u8);
        }
        Self(codes)
    }

    /// The channels in two pairs.
    pub(super) fn pairs(&self) -> [Pair; 2] {
        [0, 2].map(|first| {
            Pair(
                self.0
                    .map(|four| [four[first].into(), four[first + 1].into()]),
            )
        })
    }
}

/// One number, image after image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Word(pub(super) [i32; IMAGES]);

/// Numbers of one element, image after image.
pub(super) type Lanes = [i32; IMAGES];

/// An image of [`IMAGES`] lanes, row major.
#[derive(Debug, Default)]
pub(super) struct Tensor {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) values: Values,
}

/// The elements of a tensor.
#[derive(Debug)]
pub(super) enum Values {
    /// Codes and values of 16 bits, channels in pairs; an odd last channel has a 0 beside it.
    Narrow(Vec<Pair>),
    /// Values of 32 bits.
    Wide(Vec<Word>),
}

impl Default for Values {
    fn default() -> Self {
        Self::Narrow(Vec::new())
    }
}

impl Tensor {
    /// Takes the size and element type of `spec`; the elements mean nothing afterwards.
    pub(super) fn reshape(&mut self, spec: &TensorSpec) {
        self.height = spec.height.into();
        self.width = spec.width.into();
        self.channels = spec.channels.into();
        let pixels = self.height * self.width;
        match (&mut self.values, spec.storage) {
            (Values::Wide(words), Storage::Value32) => {
                words.resize(pixels * self.channels, Word([0; IMAGES]));
            }
            (Values::Narrow(pairs), Storage::Code8 { .. } | Storage::Value16) => {
                pairs.resize(pixels * self.channels.div_ceil(2), Pair::ZERO);
            }
            (values, Storage::Value32) => {
                *values = Values::Wide(vec![Word([0; IMAGES]); pixels * self.channels]);
            }
            (values, _) => {
                *values = Values::Narrow(vec![Pair::ZERO; pixels * self.channels.div_ceil(2)]);
            }
        }
    }

    /// Pairs of channels per pixel.
    pub(super) fn pairs(&self) -> usize {
        self.channels.div_ceil(2)
    }

    /// The pairs; none of a tensor of 32-bit values.
    pub(super) fn narrow(&self) -> &[Pair] {
        match &self.values {
            Values::Narrow(pairs) => pairs,
            Values::Wide(_) => &[],
        }
    }

    /// Like [`narrow`](Self::narrow), to be written.
    pub(super) fn narrow_mut(&mut self) -> &mut [Pair] {
        match &mut self.values {
            Values::Narrow(pairs) => pairs,
            Values::Wide(_) => &mut [],
        }
    }

    /// An element of all images.
    #[inline(always)]
    pub(super) fn get(&self, y: usize, x: usize, channel: usize) -> Lanes {
        let pixel = y * self.width + x;
        match &self.values {
            Values::Narrow(pairs) => {
                let pair = &pairs[pixel * self.pairs() + channel / 2];
                std::array::from_fn(|image| pair.0[image][channel % 2].into())
            }
            Values::Wide(words) => words[pixel * self.channels + channel].0,
        }
    }

    /// Writes an element of all images.
    #[inline(always)]
    pub(super) fn set(&mut self, y: usize, x: usize, channel: usize, lanes: Lanes) {
        let (pixel, pairs_per_pixel) = (y * self.width + x, self.pairs());
        match &mut self.values {
            Values::Narrow(pairs) => {
                let pair = &mut pairs[pixel * pairs_per_pixel + channel / 2];
                for (place, lane) in pair.0.iter_mut().zip(lanes) {
                    place[channel % 2] = lane as i16;
                    if channel + 1 == self.channels && channel.is_multiple_of(2) {
                        place[1] = 0;
                    }
                }
            }
            Values::Wide(words) => words[pixel * self.channels + channel].0 = lanes,
        }
    }

    /// All elements, row major, channels last.
    pub(super) fn elements(&self) -> impl Iterator<Item = Lanes> + '_ {
        let pixels = (0..self.height).flat_map(|y| (0..self.width).map(move |x| (y, x)));
        pixels
            .flat_map(move |(y, x)| (0..self.channels).map(move |channel| self.get(y, x, channel)))
    }

    /// Those of one image.
    #[cfg(any(test, feature = "_test"))]
    pub(super) fn image(&self, image: usize) -> Vec<i32> {
        self.elements().map(|lanes| lanes[image]).collect()
    }
}
