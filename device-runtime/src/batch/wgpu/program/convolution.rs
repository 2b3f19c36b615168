//! Convolutions: which shader suits, and its parameters.

use std::vec::Vec;

use super::weights::Codes;
use super::{Builder, Dispatch, Memory, Work};
use crate::batch::wgpu::operators::Operator;
use crate::batch::wgpu::parameters::{Channel, Convolution, Tensor, finish};
use crate::format::{self, Requantize, Residual, Storage, TensorSpec};

/// Positions that an invocation of `conv2d.wgsl` computes.
const POSITIONS: u32 = 4;

/// What happens to the sums.
struct Finish {
    layer: Convolution,
    addend: Memory,
    output: Memory,
    /// One per output channel, without what comes from the weights.
    channels: Vec<Channel>,
}

impl Builder<'_, '_> {
    pub(super) fn convolutions(
        &self,
        convolution: &format::Convolution,
        requantize: &Requantize,
        residual: &Residual,
    ) -> Vec<Dispatch> {
        let mut dispatches = Vec::new();
        if let Residual::Projection {
            convolution: second,
            ..
        } = residual
        {
            dispatches.push(self.convolution(second, self.sums()));
        }
        dispatches.push(self.convolution(convolution, self.finish(requantize, residual)));
        dispatches
    }

    /// Sums are kept as they are.
    fn sums(&self) -> Finish {
        let channels = self.output.channels;
        Finish {
            layer: Convolution {
                output: Tensor::sums(&self.output),
                finish: finish::SUMS,
                ..Default::default()
            },
            addend: Memory::Unused,
            output: Memory::Sums,
            channels: (0..channels).map(|_| Channel::NONE).collect(),
        }
    }

    fn finish(&self, requantize: &Requantize, residual: &Residual) -> Finish {
        let mut layer = Convolution {
            output: Tensor::new(&self.output),
            low: requantize.low,
            high: requantize.high,
            finish: finish::ADD,
            addend_stride: 1,
            ..Default::default()
        };
        let (addend, multipliers) = match residual {
            Residual::None => {
                layer.finish = finish::REQUANTIZE;
                (Memory::Unused, &[][..])
            }
            Residual::Identity {
                input,
                stride,
                channel_offset,
                multipliers,
            } => {
                layer.addend = Tensor::new(input);
                layer.addend_stride = (*stride).into();
                layer.addend_offset = (*channel_offset).into();
                (self.memory(input), self.model.blob(*multipliers))
            }
            Residual::Projection { multipliers, .. } => {
                layer.addend = Tensor::sums(&self.output);
                (Memory::Sums, self.model.blob(*multipliers))
            }
        };
        let Requantize {
            multipliers: main,
            biases,
            shifts,
            ..
        } = *requantize;
        let mut multipliers = multipliers.as_chunks().0.iter();
        let affines = self.affines([main, biases, shifts]).into_iter();
        let channels = affines.map(|affine| Channel {
            affine,
            addend_multiplier: multipliers.next().map_or(0, |m| i32::from_le_bytes(*m)),
            ..Channel::NONE
        });
        Finish {
            layer,
            addend,
            output: self.target,
            channels: channels.collect(),
        }
    }

    fn convolution(&self, geometry: &format::Convolution, finish: Finish) -> Dispatch {
        let Finish {
            mut layer,
            addend,
            output,
            mut channels,
        } = finish;
        let input = &geometry.input;
        let groups = geometry.groups.max(1);
        layer.input = Tensor::new(input);
        layer.kernel = [geometry.kernel_height, geometry.kernel_width].map(u32::from);
        layer.stride = [geometry.stride_y, geometry.stride_x].map(u32::from);
        layer.padding = [geometry.pad_top, geometry.pad_left].map(u32::from);
        layer.group_inputs = (input.channels / groups).into();
        layer.group_outputs = (self.output.channels / groups).into();
        layer.bits = geometry.weights.bits.into();

        let taps = geometry.taps() as usize;
        let count = usize::from(self.output.channels);
        let codes = Codes::new(self.model, &geometry.weights, taps, count);
        let (operator, (mut parameters, each)) = match outside(geometry, &self.output) {
            Some(code) if has_quads(geometry, &self.output) => {
                layer.padding_codes = u32::from(code) * 0x0101_0101;
                layer.last_channels = 0x0101_0101 >> (8 * ((4 - layer.group_inputs % 4) % 4));
                let codes = codes.by_input_quads(count, layer.group_inputs as usize);
                (Operator::Conv2d, codes)
            }
            _ => (Operator::Conv2dValues, codes.by_taps(count)),
        };
        layer.codes = each;
        layer.channels = parameters.len() as u32;
        channels.resize(count.next_multiple_of(4), Channel::NONE);
        for (index, channel) in channels.iter_mut().enumerate() {
            channel.zero_point = codes.zero_point(index);
            channel.constant = constant(&codes, index, taps, input.zero_point);
            parameters.extend(channel.words());
        }
        let work = Work {
            pieces: layer.output.height * layer.output.width,
            together: match operator {
                Operator::Conv2d => POSITIONS,
                _ => 1,
            },
            quads: layer.output.quads,
        };
        Dispatch {
            operator,
            layer: bytemuck::bytes_of(&layer).to_vec(),
            parameters,
            input: self.memory(input),
            addend,
            output,
            work,
        }
    }
}

/// The code that counts as 0 around the image, if codes can be used.
fn outside(geometry: &format::Convolution, output: &TensorSpec) -> Option<u8> {
    let input = &geometry.input;
    if !matches!(input.storage, Storage::Code8 { .. }) {
        return None;
    }
    let code = input.zero_point.checked_neg();
    let code = code.and_then(|code| u8::try_from(code).ok());
    // Any will do where nothing around the image is read.
    code.or_else(|| is_within(geometry, output).then_some(0))
}

/// Whether all that is read lies within the image.
fn is_within(geometry: &format::Convolution, output: &TensorSpec) -> bool {
    let ends = |size: u16, stride: u8, kernel: u8| {
        (u32::from(size).saturating_sub(1)) * u32::from(stride) + u32::from(kernel)
    };
    let rows = ends(output.height, geometry.stride_y, geometry.kernel_height);
    let columns = ends(output.width, geometry.stride_x, geometry.kernel_width);
    let input = &geometry.input;
    [geometry.pad_top, geometry.pad_left] == [0, 0]
        && rows <= input.height.into()
        && columns <= input.width.into()
}

/// Whether a quad of channels never belongs to two groups.
fn has_quads(geometry: &format::Convolution, output: &TensorSpec) -> bool {
    let groups = geometry.groups.max(1);
    let whole = |channels: u16| (channels / groups).is_multiple_of(4);
    groups == 1 || whole(geometry.input.channels) && whole(output.channels)
}

/// What the zero point of the input adds to the sums of a channel over whole codes.
fn constant(codes: &Codes, channel: usize, taps: usize, zero_point: i32) -> i32 {
    let weights = i32::from(codes.zero_point(channel)).wrapping_mul(taps as i32);
    let weights = weights.wrapping_add(codes.sum(channel));
    weights.wrapping_mul(zero_point)
}
