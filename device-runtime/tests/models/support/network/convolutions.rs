//! Convolutions, their weights and their shortcuts.

use lowbit_runtime::format::{
    Convolution, Kind, Layout, Requantize, Residual, Scratch, TensorSpec, Weights,
};
use lowbit_runtime::kernels::{scratch_bytes, tuned_scratch_bytes};

use super::super::reference::{Geometry, Plain, convolve, requantize};
use super::{ConvCase, Element, Network, Shortcut};

pub(super) struct Affines {
    pub(super) multipliers: Vec<i64>,
    pub(super) biases: Vec<i64>,
    pub(super) shifts: Vec<u8>,
}

impl Network {
    pub(crate) fn conv(&mut self, input: usize, case: &ConvCase, shortcut: Shortcut) -> usize {
        let size = self.conv_size(input, case);
        let outputs = case.outputs_per_group * case.groups;
        let (convolution, sums) = self.source(input, case, outputs, size);
        let (low, high) = case.output.range();
        let (residual, addends, taken) = self.residual(shortcut, &sums, size, outputs);
        let affine = self.affines(&sums, low, high, outputs.into());
        let channels = usize::from(outputs);
        let plain = Plain::from_fn([size[0], size[1], channels], |y, x, channel| {
            let index = (y * size[1] + x) * channels + channel;
            let sum = i128::from(affine.multipliers[channel]) * i128::from(sums.values[index]);
            let (bias, shift) = (affine.biases[channel], affine.shifts[channel]);
            requantize(sum + addends[index], bias, shift, low, high)
        });
        let requantize = Requantize {
            multipliers: self.file.push_i32(&affine.multipliers),
            biases: self.file.push_i64(&affine.biases),
            shifts: self.file.push(&affine.shifts),
            low: low as i32,
            high: high as i32,
        };
        let spec = match taken {
            Some(spec) => spec,
            None => self.place(&plain, case.output),
        };
        let mut kind = Kind::Conv2d {
            convolution,
            requantize,
            residual,
            scratch: Scratch::default(),
        };
        let rows = case.tile.min(u32::from(spec.height)) as u16;
        let tuned = tuned_scratch_bytes(&kind, &spec, rows).unwrap_or(0);
        let length = scratch_bytes(&kind, case.tile).max(tuned) as u32 + case.spare;
        if let Kind::Conv2d { scratch, .. } = &mut kind {
            *scratch = Scratch {
                offset: self.reserve(length),
                length,
            };
        }
        self.sums.push((self.operations.len() as u16, sums));
        self.push(kind, spec, plain)
    }

    fn conv_size(&self, input: usize, case: &ConvCase) -> [usize; 2] {
        let [height, width, _] = self.shape(input);
        let size = |length: usize, axis: usize| {
            let kernel = usize::from(case.kernel[axis]);
            let room = (length + 2 * usize::from(case.padding[axis])).saturating_sub(kernel);
            room / usize::from(case.stride[axis]) + 1
        };
        [size(height, 0), size(width, 1)]
    }

    fn source(
        &mut self,
        input: usize,
        case: &ConvCase,
        outputs: u16,
        size: [usize; 2],
    ) -> (Convolution, Plain) {
        let channels = self.shape(input)[2] / usize::from(case.groups);
        let taps = usize::from(case.kernel[0]) * usize::from(case.kernel[1]) * channels;
        let (weights, values) = self.weights(case.weight_bits, outputs.into(), taps);
        let geometry = Geometry {
            kernel: case.kernel.map(usize::from),
            stride: case.stride.map(usize::from),
            padding: case.padding.map(usize::from),
            groups: case.groups.into(),
        };
        let sums = convolve(&self.tensors[input].plain, &geometry, &values, size);
        let convolution = Convolution {
            input: self.tensors[input].spec,
            kernel_height: case.kernel[0],
            kernel_width: case.kernel[1],
            stride_y: case.stride[0],
            stride_x: case.stride[1],
            pad_top: case.padding[0],
            pad_left: case.padding[1],
            groups: case.groups,
            weights,
        };
        (convolution, sums)
    }

    pub(super) fn weights(
        &mut self,
        bits: u8,
        rows: usize,
        taps: usize,
    ) -> (Weights, Vec<Vec<i64>>) {
        let codes: Vec<Vec<i64>> = (0..rows)
            .map(|_| self.random.many(taps, 0, (1 << bits) - 1))
            .collect();
        let [lowest, highest] = match self.extreme {
            true => [i16::MIN.into(), i64::from(i16::MIN) + 9],
            false => [-(1 << bits) - 7, 7],
        };
        let zero_points = self.random.many(rows, lowest, highest);
        let values = codes
            .iter()
            .zip(&zero_points)
            .map(|(row, zero_point)| row.iter().map(|code| code + zero_point).collect())
            .collect();
        let paired = bits <= 5 && self.random.between(0, 1) == 1;
        let (layout, codes) = if paired {
            (Layout::Pairs, self.file.push_pairs(bits, &codes))
        } else {
            (Layout::Rows, self.file.push_codes(bits, &codes))
        };
        let weights = Weights {
            bits,
            layout,
            codes,
            zero_points: self.file.push_i16(&zero_points),
        };
        (weights, values)
    }

    /// The residual, its multiplied values, and the tensor that the output overwrites.
    fn residual(
        &mut self,
        shortcut: Shortcut,
        sums: &Plain,
        size: [usize; 2],
        outputs: u16,
    ) -> (Residual, Vec<i128>, Option<TensorSpec>) {
        let count = usize::from(outputs);
        let multipliers = self.random.many(count, -(1 << 30), 1 << 30);
        let scaled = |plain: &Plain| -> Vec<i128> {
            let multipliers = multipliers.iter().cycle();
            let pairs = plain.values.iter().zip(multipliers);
            pairs
                .map(|(&v, &m)| i128::from(v) * i128::from(m))
                .collect()
        };
        match shortcut {
            Shortcut::None => (Residual::None, vec![0; sums.values.len()], None),
            Shortcut::Identity(tensor, stride, channel_offset) => {
                let source = &self.tensors[tensor];
                let skipped = Plain::from_fn([size[0], size[1], count], |y, x, channel| {
                    let (y, x) = (y * usize::from(stride), x * usize::from(stride));
                    match channel.checked_sub(channel_offset.into()) {
                        Some(c) if c < source.plain.channels => {
                            source.plain.at(y as i64, x as i64, c).unwrap()
                        }
                        _ => 0,
                    }
                });
                let residual = Residual::Identity {
                    input: source.spec,
                    stride,
                    channel_offset,
                    multipliers: self.file.push_i32(&multipliers),
                };
                (residual, scaled(&skipped), None)
            }
            Shortcut::InPlace(tensor) => {
                let source = &self.tensors[tensor];
                let (spec, addends) = (source.spec, scaled(&source.plain));
                let residual = Residual::Identity {
                    input: spec,
                    stride: 1,
                    channel_offset: 0,
                    multipliers: self.file.push_i32(&multipliers),
                };
                (residual, addends, Some(spec))
            }
            Shortcut::Projection(tensor, stride, weight_bits) => {
                let case = ConvCase {
                    kernel: [1, 1],
                    stride: [stride; 2],
                    padding: [0, 0],
                    groups: 1,
                    outputs_per_group: outputs,
                    weight_bits,
                    output: Element::Value16,
                    tile: 1,
                    spare: 0,
                };
                let (convolution, sums) = self.source(tensor, &case, outputs, size);
                let residual = Residual::Projection {
                    convolution,
                    multipliers: self.file.push_i32(&multipliers),
                };
                (residual, scaled(&sums), None)
            }
        }
    }

    /// Parameters that spread `sums` over `low ..= high` and somewhat beyond.
    pub(super) fn affines(
        &mut self,
        sums: &Plain,
        low: i64,
        high: i64,
        channels: usize,
    ) -> Affines {
        let largest = sums.values.iter().map(|sum| sum.abs()).max().unwrap_or(0);
        let spread = (largest + 1).ilog2() as i64;
        let width = (high - low + 1).ilog2() as i64;
        let mut shifts: Vec<u8> = (0..channels)
            .map(|_| (29 + spread - width + self.random.between(0, 1)).clamp(1, 62) as u8)
            .collect();
        let mut multipliers = self.random.many(channels, -(1 << 30), 1 << 30);
        if self.extreme {
            for (multiplier, shift) in multipliers.iter_mut().zip(&mut shifts) {
                match self.random.between(0, 7) {
                    0 => (*multiplier, *shift) = (0, self.random.between(40, 62) as u8),
                    1 => *shift = self.random.between(40, 62) as u8,
                    _ => {}
                }
            }
        }
        let biases = shifts
            .iter()
            .map(|&shift| {
                let most = (1i64 << 61) - 1;
                let rounding = 1i64 << (shift - 1);
                let offset = self.random.between(low, high);
                let bias = i128::from(offset) << shift >> 1;
                (bias + i128::from(rounding)).clamp((-most).into(), most.into()) as i64
            })
            .collect();
        Affines {
            multipliers,
            biases,
            shifts,
        }
    }
}
