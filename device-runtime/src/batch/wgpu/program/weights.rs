//! Weights as shaders read them: packed at their width, four codes after four.

use std::vec;
use std::vec::Vec;

use crate::batch::wgpu::parameters::packed;
use crate::format::{Model, Weights};
use crate::kernels::Rows;

/// The codes of all output channels of a layer.
pub(super) struct Codes {
    bits: u8,
    taps: usize,
    /// One row per output channel.
    rows: Vec<i16>,
    zero_points: Vec<i16>,
}

impl Codes {
    pub(super) fn new(model: &Model<'_>, weights: &Weights, taps: usize, channels: usize) -> Self {
        let packed = Rows {
            bits: weights.bits,
            layout: weights.layout,
            taps,
            codes: model.blob(weights.codes),
            // Codes, not weights: those that are missing count as 0.
            zero_points: &[],
        };
        let mut rows = vec![0; taps * channels];
        for (channel, row) in rows.chunks_exact_mut(taps.max(1)).enumerate() {
            packed.unpack(channel, row);
        }
        let zero_points = model.blob(weights.zero_points).as_chunks().0.iter();
        Self {
            bits: weights.bits,
            taps,
            rows,
            zero_points: zero_points
                .map(|bytes| i16::from_le_bytes(*bytes))
                .collect(),
        }
    }

    pub(super) fn zero_point(&self, channel: usize) -> i16 {
        self.zero_points.get(channel).copied().unwrap_or_default()
    }

    /// Sum of the codes of an output channel.
    pub(super) fn sum(&self, channel: usize) -> i32 {
        let row = self.rows.chunks_exact(self.taps.max(1)).nth(channel);
        row.map_or(0, |row| row.iter().copied().map(i32::from).sum())
    }

    /// 0 behind the last channel.
    fn code(&self, channel: usize, tap: usize) -> u8 {
        let row = channel * self.taps;
        self.rows.get(row + tap).map_or(0, |code| *code as u8)
    }

    /// For `conv2d.wgsl`: per quad of output channels, tap of the kernel and quad of inputs the four
    /// inputs of the first channel, of the second and so on. Also the words per quad of outputs.
    pub(super) fn by_input_quads(&self, channels: usize, inputs: usize) -> (Vec<u32>, u32) {
        self.streams(channels.div_ceil(4), |quad| {
            let starts = (0..self.taps).step_by(inputs.max(1));
            starts.flat_map(move |tap| {
                (0..inputs).step_by(4).flat_map(move |first| {
                    (0..16).map(move |index| match first + index % 4 {
                        input if input < inputs => self.code(4 * quad + index / 4, tap + input),
                        _ => 0,
                    })
                })
            })
        })
    }

    /// For `conv2d_values.wgsl`: per quad of output channels and tap the four channels. Also the
    /// words per quad.
    pub(super) fn by_taps(&self, channels: usize) -> (Vec<u32>, u32) {
        self.streams(channels.div_ceil(4), |quad| {
            let taps = 0..self.taps;
            taps.flat_map(move |tap| {
                (4 * quad..4 * quad + 4).map(move |channel| self.code(channel, tap))
            })
        })
    }

    /// For `linear.wgsl`: per class and pixel of features their channels, filled up to whole quads.
    /// Also the words per class.
    pub(super) fn linear(&self, channels: usize) -> (Vec<u32>, u32) {
        let classes = self.rows.len().checked_div(self.taps).unwrap_or(0);
        let quads = channels.div_ceil(4) * 4;
        self.streams(classes, |class| {
            let starts = (0..self.taps).step_by(channels.max(1));
            starts.flat_map(move |start| {
                (0..quads).map(move |channel| match channel {
                    channel if channel < channels => self.code(class, start + channel),
                    _ => 0,
                })
            })
        })
    }

    fn streams<C: Iterator<Item = u8>>(
        &self,
        count: usize,
        codes: impl Fn(usize) -> C,
    ) -> (Vec<u32>, u32) {
        let mut words = Vec::new();
        let mut each = 0;
        for stream in 0..count {
            let packed = packed(self.bits, codes(stream));
            each = packed.len() as u32;
            words.extend(packed);
        }
        (words, each)
    }
}
