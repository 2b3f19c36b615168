//! What shaders read beside tensors, word by word as they declare it.

use std::vec;
use std::vec::Vec;

use bytemuck::{Pod, Zeroable};

use crate::arithmetic::Affine;
use crate::format::{Storage, TensorSpec};

/// `Tensor` of `operator.wgsl`.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Tensor {
    pub(super) height: u32,
    pub(super) width: u32,
    pub(super) channels: u32,
    /// Per pixel.
    pub(super) quads: u32,
    /// Quads per image.
    pub(super) image: u32,
    /// Words per quad.
    pub(super) words: u32,
    pub(super) zero_point: i32,
    unused: u32,
}

impl Tensor {
    pub(super) fn new(spec: &TensorSpec) -> Self {
        let [height, width, channels] = [spec.height, spec.width, spec.channels].map(u32::from);
        let quads = channels.div_ceil(4);
        Self {
            height,
            width,
            channels,
            quads,
            image: height.saturating_mul(width).saturating_mul(quads),
            words: spec.storage.bytes() as u32,
            zero_point: spec.zero_point,
            unused: 0,
        }
    }

    /// The same number of elements of 32 bits.
    pub(super) fn sums(spec: &TensorSpec) -> Self {
        Self::new(&TensorSpec {
            storage: Storage::Value32,
            zero_point: 0,
            ..*spec
        })
    }

    pub(super) fn words_per_image(&self) -> u64 {
        u64::from(self.image) * u64::from(self.words)
    }
}

/// `Convolution` of `convolution.wgsl`.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Convolution {
    pub(super) input: Tensor,
    pub(super) output: Tensor,
    pub(super) addend: Tensor,
    pub(super) kernel: [u32; 2],
    pub(super) stride: [u32; 2],
    pub(super) padding: [u32; 2],
    pub(super) group_inputs: u32,
    pub(super) group_outputs: u32,
    pub(super) bits: u32,
    pub(super) codes: u32,
    pub(super) channels: u32,
    pub(super) low: i32,
    pub(super) high: i32,
    pub(super) finish: u32,
    pub(super) addend_stride: u32,
    pub(super) addend_offset: u32,
    pub(super) padding_codes: u32,
    pub(super) last_channels: u32,
}

/// What a convolution does with its sums.
pub(super) mod finish {
    pub(in super::super) const SUMS: u32 = 0;
    pub(in super::super) const REQUANTIZE: u32 = 1;
    pub(in super::super) const ADD: u32 = 2;
}

/// `InputTable` of `input_table.wgsl`.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct InputTable {
    pub(super) output: Tensor,
    pub(super) pixels: u32,
    pub(super) unused: [u32; 3],
}

/// `Add` of `add.wgsl`.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Add {
    pub(super) left: Tensor,
    pub(super) right: Tensor,
    pub(super) output: Tensor,
    pub(super) low: i32,
    pub(super) high: i32,
    pub(super) unused: [u32; 2],
}

/// `Pool` of `pool.wgsl`.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Pool {
    pub(super) input: Tensor,
    pub(super) output: Tensor,
    pub(super) window: [u32; 2],
    pub(super) stride: [u32; 2],
    pub(super) padding: [u32; 2],
    pub(super) reduction: u32,
    pub(super) low: i32,
    pub(super) high: i32,
    pub(super) unused: [u32; 3],
}

/// How a window becomes one value.
pub(super) mod reduction {
    pub(in super::super) const MAX: u32 = 0;
    pub(in super::super) const SUM: u32 = 1;
    pub(in super::super) const AVERAGE: u32 = 2;
}

/// `Linear` of `linear.wgsl`.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Linear {
    pub(super) input: Tensor,
    pub(super) output: Tensor,
    pub(super) bits: u32,
    pub(super) codes: u32,
    pub(super) classes: u32,
    pub(super) unused: u32,
}

/// `Affine` of `wide.wgsl`.
pub(super) fn affine_words(affine: &Affine) -> [u32; 4] {
    let bias = affine.bias as u64;
    [
        affine.multiplier as u32,
        affine.shift.into(),
        bias as u32,
        (bias >> 32) as u32,
    ]
}

/// Parameters of an output channel or a class: `CHANNEL_WORDS` of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Channel {
    pub(super) affine: Affine,
    pub(super) addend_multiplier: i32,
    pub(super) zero_point: i16,
    pub(super) constant: i32,
}

impl Channel {
    /// Fills a quad; computes nothing of use, but nothing undefined either.
    pub(super) const NONE: Self = Self {
        affine: Affine {
            multiplier: 0,
            bias: 0,
            shift: 1,
        },
        addend_multiplier: 0,
        zero_point: 0,
        constant: 0,
    };

    pub(super) fn words(&self) -> [u32; 8] {
        let [multiplier, shift, low, high] = affine_words(&self.affine);
        [
            multiplier,
            shift,
            low,
            high,
            self.addend_multiplier as u32,
            i32::from(self.zero_point) as u32,
            self.constant as u32,
            0,
        ]
    }
}

/// Codes of a few bits each, lowest first, in 32-bit words, with a spare word at the end.
pub(super) fn packed(bits: u8, codes: impl IntoIterator<Item = u8>) -> Vec<u32> {
    let mut words = vec![0];
    let mut free = u32::BITS;
    for code in codes {
        if free == 0 {
            words.push(0);
            free = u32::BITS;
        }
        let (code, bits) = (u32::from(code), u32::from(bits));
        if let Some(word) = words.last_mut() {
            *word |= code << (u32::BITS - free);
        }
        if bits > free {
            words.push(code >> free);
            free += u32::BITS;
        }
        free -= bits;
    }
    words.push(0);
    words
}

impl Tensor {
    /// The elements of an image in canonical order as integers.
    pub(super) fn elements(&self, words: &[i32]) -> Vec<i32> {
        let quads = words.chunks_exact(self.words as usize);
        let pixels: Vec<_> = quads.flat_map(|quad| self.quad(quad)).collect();
        let pixels = pixels.chunks_exact(4 * self.quads as usize);
        pixels
            .flat_map(|pixel| pixel.iter().take(self.channels as usize).copied())
            .collect()
    }

    fn quad(&self, words: &[i32]) -> Vec<i32> {
        let bytes = words.iter().flat_map(|word| word.to_le_bytes());
        let bytes: Vec<u8> = bytes.collect();
        let elements = bytes.chunks_exact(self.words as usize);
        elements
            .map(|element| match *element {
                [code] => i32::from(code) + self.zero_point,
                [low, high] => i16::from_le_bytes([low, high]).into(),
                [a, b, c, d] => i32::from_le_bytes([a, b, c, d]),
                _ => 0,
            })
            .collect()
    }
}
