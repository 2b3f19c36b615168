//! A convolution with random operands.

use lowbit_runtime::format::{
    Convolution, Kind, Requantize, Residual, Scratch, Storage, TensorSpec, Weights,
};
use lowbit_runtime::kernels::conv2d::{self, Addend, Epilogue, Source};
use lowbit_runtime::kernels::{
    Affines, Image, ImageMut, Kernels, Rows, fastest_layout, scratch_bytes, tuned_scratch_bytes,
};

use crate::random::Random;

/// Bytes of the largest image: 11 x 11 pixels of 48 channels, two bytes each.
const IMAGE_BYTES: usize = 12 * 1024;
/// Bytes of the most weights: 18 rows of 5 x 5 taps for 48 channels.
const WEIGHT_BYTES: usize = 24 * 1024;
/// Most output channels.
const CHANNELS: usize = 64;
/// Bytes of the most scratch.
const SCRATCH_BYTES: usize = 96 * 1024;

/// What is added to the accumulators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shortcut {
    None,
    InPlace,
    Identity { stride: u8, channel_offset: u16 },
    Projection { weight_bits: u8 },
}

/// Sizes, widths and form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Problem {
    pub(crate) height: u16,
    pub(crate) width: u16,
    pub(crate) channels: u16,
    pub(crate) outputs: u16,
    pub(crate) kernel: u8,
    pub(crate) stride: u8,
    pub(crate) padding: u8,
    pub(crate) groups: u16,
    pub(crate) weight_bits: u8,
    /// `None` for values of 16 bits.
    pub(crate) activation_bits: Option<u8>,
    pub(crate) zero_point: i32,
    pub(crate) output_bits: u8,
    pub(crate) output_zero_point: i32,
    /// Bits by which shifts are lowered; those that are not are at least 32.
    pub(crate) lowered: u8,
    pub(crate) shortcut: Shortcut,
    /// Whether codes are large and the weights' zero points as low as they get, so that sums with codes
    /// outgrow 32 bits, though sums with values do not.
    pub(crate) extreme: bool,
    /// Output rows that scratch has room for.
    pub(crate) rows: u16,
    pub(crate) seed: u64,
}

/// Room for operands and results.
pub(crate) struct Memory {
    pub(crate) input: &'static mut [u8],
    pub(crate) skipped: &'static mut [u8],
    weights: &'static mut [u8],
    projection: &'static mut [u8],
    parameters: &'static mut [u8],
    scratch: &'static mut [u32],
    pub(crate) outputs: [&'static mut [u8]; 2],
}

impl Memory {
    /// `None` when `memory` is too small.
    pub(crate) fn new(memory: &'static mut [u8]) -> Option<Self> {
        let mut rest = memory;
        let mut part = |bytes: usize| {
            let (part, behind) = core::mem::take(&mut rest).split_at_mut_checked(bytes)?;
            rest = behind;
            Some(part)
        };
        Some(Self {
            input: part(IMAGE_BYTES)?,
            skipped: part(IMAGE_BYTES)?,
            weights: part(WEIGHT_BYTES)?,
            projection: part(WEIGHT_BYTES)?,
            parameters: part(24 * CHANNELS)?,
            scratch: bytemuck::try_cast_slice_mut(part(SCRATCH_BYTES)?).ok()?,
            outputs: [part(IMAGE_BYTES)?, part(IMAGE_BYTES)?],
        })
    }
}

impl Problem {
    /// A small problem of any kind.
    pub(crate) fn random(random: &mut Random) -> Self {
        let activation_bits = (!random.once_in(6)).then(|| random.between(1, 8) as u8);
        let highest = activation_bits.map_or(0, |bits| (1 << bits) - 1);
        let zero_point = match random.between(0, 3) {
            0 | 1 => 0,
            2 => -random.between(0, highest),
            _ => random.between(-300, 300),
        };
        let kernel = [1, 3, 3, 3, 2, 5][random.between(0, 5) as usize];
        let channels = [1, 2, 3, 4, 8, 16, 17, 31, 48][random.between(0, 8) as usize];
        let least = i32::from(kernel);
        let (height, width) = (random.between(least, 11), random.between(least, 11));
        let pointy = random.once_in(8);
        let depthwise = random.once_in(5);
        let outputs = if depthwise {
            channels
        } else {
            random.between(1, 18)
        };
        let mut problem = Self {
            height: if pointy { least } else { height } as u16,
            width: if pointy { least } else { width } as u16,
            channels: channels as u16,
            outputs: outputs as u16,
            kernel,
            stride: random.between(1, 2) as u8,
            padding: random.between(0, i32::from(kernel) - 1) as u8,
            groups: if depthwise { channels as u16 } else { 1 },
            weight_bits: random.between(2, 8) as u8,
            activation_bits,
            zero_point: if activation_bits.is_some() {
                zero_point
            } else {
                0
            },
            output_bits: random.between(1, 8) as u8,
            output_zero_point: if random.once_in(2) {
                0
            } else {
                random.between(-20, 20)
            },
            lowered: [0, 0, 4, 6, 8, 12][random.between(0, 5) as usize],
            shortcut: Shortcut::None,
            extreme: false,
            rows: random.between(1, 12) as u16,
            seed: random.next(),
        };
        problem.shortcut = match random.between(0, 5) {
            0 => Shortcut::InPlace,
            1 => Shortcut::Identity {
                stride: random.between(1, 2) as u8,
                channel_offset: random.between(0, 2) as u16,
            },
            2 => Shortcut::Projection {
                weight_bits: random.between(2, 8) as u8,
            },
            _ => Shortcut::None,
        };
        problem
    }

    /// Codes of 8 bits, or codes of 4 bits for whose products every core has lanes.
    pub(crate) fn extreme(random: &mut Random) -> Self {
        let [kernel, activation_bits, outputs] = match random.once_in(3) {
            true => [11, 4, 7],
            false => [3, 8, 18],
        };
        Self {
            height: 11,
            width: 11,
            channels: 48,
            outputs: random.between(1, outputs) as u16,
            kernel: kernel as u8,
            padding: 0,
            groups: 1,
            weight_bits: random.between(2, activation_bits) as u8,
            activation_bits: Some(activation_bits as u8),
            zero_point: -(1 << (activation_bits - 1)),
            shortcut: Shortcut::None,
            extreme: true,
            rows: random.between(1, 3) as u16,
            ..Self::random(random)
        }
    }

    fn output(&self) -> TensorSpec {
        let size = |length: u16| {
            let room = length + 2 * u16::from(self.padding) - u16::from(self.kernel);
            room / u16::from(self.stride) + 1
        };
        TensorSpec {
            offset: 0,
            height: size(self.height),
            width: size(self.width),
            channels: self.outputs,
            storage: Storage::Code8 {
                bits: self.output_bits,
            },
            zero_point: self.output_zero_point,
        }
    }

    pub(crate) fn output_bytes(&self) -> usize {
        self.output().bytes()
    }

    fn storage(&self) -> Storage {
        match self.activation_bits {
            Some(bits) => Storage::Code8 { bits },
            None => Storage::Value16,
        }
    }

    fn convolution(&self) -> Convolution {
        let input = TensorSpec {
            offset: 0,
            height: self.height,
            width: self.width,
            channels: self.channels,
            storage: self.storage(),
            zero_point: self.zero_point,
        };
        let convolution = Convolution {
            input,
            kernel_height: self.kernel,
            kernel_width: self.kernel,
            stride_y: self.stride,
            stride_x: self.stride,
            pad_top: self.padding,
            pad_left: self.padding,
            groups: self.groups,
            weights: Weights::default(),
        };
        with_weights(convolution, self.weight_bits)
    }

    /// The tensor beside the convolution: one of the output's size, or what a projection reads.
    fn skipped(&self) -> TensorSpec {
        let output = self.output();
        let (stride, channels) = match self.shortcut {
            Shortcut::None | Shortcut::InPlace => (1, self.outputs),
            Shortcut::Identity {
                stride,
                channel_offset,
            } => (
                stride,
                self.outputs.saturating_sub(channel_offset + 1).max(1),
            ),
            Shortcut::Projection { .. } => (self.stride, self.channels),
        };
        let size = |length: u16| (length - 1) * u16::from(stride) + 1;
        TensorSpec {
            height: size(output.height),
            width: size(output.width),
            channels,
            storage: Storage::Code8 { bits: 4 },
            zero_point: -3,
            ..output
        }
    }

    fn projection(&self) -> Option<Convolution> {
        let Shortcut::Projection { weight_bits } = self.shortcut else {
            return None;
        };
        let convolution = Convolution {
            input: self.skipped(),
            kernel_height: 1,
            kernel_width: 1,
            stride_y: self.stride,
            stride_x: self.stride,
            pad_top: 0,
            pad_left: 0,
            groups: 1,
            weights: Weights::default(),
        };
        Some(with_weights(convolution, weight_bits))
    }

    /// Fills the operands.
    pub(crate) fn prepare(&self, memory: &mut Memory) {
        let mut random = Random(self.seed);
        let count = self.convolution().input.elements() as usize;
        match self.activation_bits {
            Some(bits) => {
                let mask = ((1u16 << bits) - 1) as u8;
                let large = if self.extreme { mask - mask / 4 } else { 0 };
                let codes = memory.input.iter_mut().take(count);
                codes.for_each(|code| *code = random.next() as u8 & mask | large);
            }
            None => {
                let values = memory.input.chunks_exact_mut(2).take(count);
                values.for_each(|value| {
                    let number = random.between(-128, 127) as i16;
                    value.copy_from_slice(&number.to_le_bytes());
                });
            }
        }
        for byte in memory.weights.iter_mut().chain(&mut *memory.projection) {
            *byte = random.next() as u8;
        }
        for code in &mut *memory.skipped {
            *code = random.next() as u8 & 15;
        }
        self.prepare_parameters(&mut random, memory.parameters);
    }

    fn prepare_parameters(&self, random: &mut Random, bytes: &mut [u8]) {
        let [multipliers, biases, addends, zero_points, shifts] = parts_mut(bytes);
        let taps = self.convolution().taps() as u32;
        let sum_bits = (taps * 64).ilog2() as i32 + i32::from(self.weight_bits);
        let shift = 29 + sum_bits / 2 - i32::from(self.lowered);
        for (index, to) in multipliers.chunks_exact_mut(4).enumerate() {
            let size = random.between(1 << 24, 1 << 30);
            let number = if index % 3 == 2 { -size } else { size };
            to.copy_from_slice(&number.to_le_bytes());
        }
        for to in addends.chunks_exact_mut(4) {
            to.copy_from_slice(&random.between(-(1 << 30), 1 << 30).to_le_bytes());
        }
        for to in biases.chunks_exact_mut(8) {
            let number = i64::from(random.between(-40, 40)) << shift | 1 << (shift - 1);
            to.copy_from_slice(&number.to_le_bytes());
        }
        for to in zero_points.chunks_exact_mut(2) {
            let [lowest, highest] = match self.extreme {
                true => [i16::MIN.into(), i32::from(i16::MIN) + 3],
                false => [-(1 << self.weight_bits), 3],
            };
            let number = random.between(lowest, highest) as i16;
            to.copy_from_slice(&number.to_le_bytes());
        }
        let [least, most] = match self.lowered {
            0 => [shift.max(32), shift.max(33)],
            _ => [shift - 2, shift + 2],
        };
        let factors = multipliers
            .chunks_exact_mut(4)
            .zip(addends.chunks_exact_mut(4));
        for (to, (multiplier, addend)) in shifts.iter_mut().zip(factors) {
            *to = random.between(least, most) as u8;
            // A channel that always has the same code.
            if random.once_in(12) {
                multiplier.fill(0);
                addend.fill(0);
                *to = 62;
            }
        }
    }

    /// Computes into an output, which holds the skipped tensor if that is to be overwritten.
    pub(crate) fn run(&self, kernels: Kernels, memory: &mut Memory, output: usize) {
        let (convolution, projection) = (self.convolution(), self.projection());
        let [multipliers, biases, addends, zero_points, shifts] = parts(memory.parameters);
        let spec = self.output();
        let skipped = Image::new(&self.skipped(), memory.skipped);
        let addend = match (self.shortcut, &projection) {
            (Shortcut::Projection { .. }, Some(geometry)) => Addend::Projection {
                source: Source {
                    geometry,
                    input: skipped,
                    weights: rows(geometry, memory.projection, zero_points),
                },
                multipliers: addends,
            },
            (
                Shortcut::Identity {
                    stride,
                    channel_offset,
                },
                _,
            ) => Addend::Identity {
                input: Some(skipped),
                stride: stride.into(),
                channel_offset: channel_offset.into(),
                multipliers: addends,
            },
            (Shortcut::InPlace, _) => Addend::Identity {
                input: None,
                stride: 1,
                channel_offset: 0,
                multipliers: addends,
            },
            _ => Addend::None,
        };
        let epilogue = Epilogue {
            affines: Affines {
                multipliers,
                biases,
                shifts,
                corrections: &[],
            },
            low: spec
                .zero_point
                .max(0)
                .min(spec.zero_point + (1 << self.output_bits) - 1),
            high: spec.zero_point + (1 << self.output_bits) - 1,
            addend,
            collector: None,
        };
        let source = Source {
            geometry: &convolution,
            input: Image::new(&convolution.input, memory.input),
            weights: rows(&convolution, memory.weights, zero_points),
        };
        let words = self.scratch_words(&convolution, projection);
        let output = &mut memory.outputs[output][..spec.bytes()];
        let mut image = ImageMut::new(&spec, output);
        conv2d::run(
            kernels,
            &source,
            &epilogue,
            &mut image,
            &mut memory.scratch[..words],
        );
    }

    fn scratch_words(&self, convolution: &Convolution, projection: Option<Convolution>) -> usize {
        let residual = match projection {
            Some(convolution) => Residual::Projection {
                convolution,
                multipliers: Default::default(),
            },
            None => Residual::None,
        };
        let kind = Kind::Conv2d {
            convolution: *convolution,
            requantize: Requantize {
                multipliers: Default::default(),
                biases: Default::default(),
                shifts: Default::default(),
                low: 0,
                high: 0,
            },
            residual,
            scratch: Scratch::default(),
        };
        let output = self.output();
        let rows = self.rows;
        let tuned = tuned_scratch_bytes(&kind, &output, rows).unwrap_or(0);
        tuned.max(scratch_bytes(&kind, 1)).div_ceil(4) as usize
    }
}

fn with_weights(mut convolution: Convolution, bits: u8) -> Convolution {
    convolution.weights.bits = bits;
    convolution.weights.layout = fastest_layout(&convolution, bits);
    convolution
}

fn rows<'a>(convolution: &Convolution, codes: &'a [u8], zero_points: &'a [u8]) -> Rows<'a> {
    Rows {
        bits: convolution.weights.bits,
        layout: convolution.weights.layout,
        taps: convolution.taps() as usize,
        codes,
        zero_points,
    }
}

/// Multipliers, biases, multipliers of the addend, zero points and shifts.
const PARTS: [usize; 4] = [4 * CHANNELS, 8 * CHANNELS, 4 * CHANNELS, 2 * CHANNELS];

fn parts(bytes: &[u8]) -> [&[u8]; 5] {
    let mut rest = bytes;
    let parts = PARTS.map(|length| {
        let (part, behind) = rest.split_at(length);
        rest = behind;
        part
    });
    [parts[0], parts[1], parts[2], parts[3], rest]
}

fn parts_mut(bytes: &mut [u8]) -> [&mut [u8]; 5] {
    let (multipliers, rest) = bytes.split_at_mut(PARTS[0]);
    let (biases, rest) = rest.split_at_mut(PARTS[1]);
    let (addends, rest) = rest.split_at_mut(PARTS[2]);
    let (zero_points, shifts) = rest.split_at_mut(PARTS[3]);
    [multipliers, biases, addends, zero_points, shifts]
}
