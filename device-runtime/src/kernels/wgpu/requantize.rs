//! The epilogue of a convolution, `shaders/requantize.wgsl`.

use std::vec::Vec;

use wgpu::BufferUsages;

use super::{Error, Gpu, Input, compile};
use crate::arithmetic::Affine;

pub(super) const NAME: &str = "requantize";
pub(super) const SOURCE: &str = include_str!("../../../../shaders/requantize.wgsl");

const MAX_MULTIPLIER: u32 = 1 << 30;
const BIAS_END: u64 = 1 << 61;
const MAX_SHIFT: u8 = 62;

pub(super) fn pipeline(device: &wgpu::Device) -> wgpu::ComputePipeline {
    compile(device, NAME, SOURCE)
}

impl Gpu {
    /// Sums of products to the integers of the next tensor: [`Affine::apply`] without addend,
    /// then [`clamp`](crate::arithmetic::clamp) to `low ..= high`.
    ///
    /// `sums` has the shape `positions x channels`, channels last, and so has the result;
    /// `channels` holds one affine map per channel.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Channel`] if the arguments do not fit the above or the ranges
    /// in [`Affine`], [`Error::TooLarge`] if they do not fit the GPU, and [`Error::Command`] or
    /// [`Error::Lost`] if the GPU fails.
    pub fn requantize(
        &self,
        sums: &[i32],
        channels: &[Affine],
        low: i32,
        high: i32,
    ) -> Result<Vec<i32>, Error> {
        if !sums.len().is_multiple_of(channels.len()) {
            return Err(Error::Shape {
                elements: sums.len(),
                channels: channels.len(),
            });
        }
        check_channels(channels)?;
        if sums.is_empty() {
            return Ok(Vec::new());
        }
        let channels: Vec<_> = channels.iter().map(words).collect();
        let range = [low, high];
        let inputs = [
            Input {
                what: "sums",
                bytes: bytemuck::cast_slice(sums),
                usage: BufferUsages::STORAGE,
            },
            Input {
                what: "channels",
                bytes: bytemuck::cast_slice(&channels),
                usage: BufferUsages::STORAGE,
            },
            Input {
                what: "range",
                bytes: bytemuck::cast_slice(&range),
                usage: BufferUsages::UNIFORM,
            },
        ];
        self.run(&self.requantize, &inputs, sums.len())
    }
}

fn check_channels(channels: &[Affine]) -> Result<(), Error> {
    let wrong = |affine: &Affine| {
        affine.multiplier.unsigned_abs() > MAX_MULTIPLIER
            || affine.bias.unsigned_abs() >= BIAS_END
            || !(1..=MAX_SHIFT).contains(&affine.shift)
    };
    match channels.iter().position(wrong) {
        Some(channel) => {
            let Affine {
                multiplier,
                bias,
                shift,
            } = channels[channel];
            Err(Error::Channel {
                channel,
                multiplier,
                bias,
                shift,
            })
        }
        None => Ok(()),
    }
}

/// `Channel` of the shader, word by word.
fn words(affine: &Affine) -> [u32; 4] {
    let bias = affine.bias as u64;
    [
        affine.multiplier as u32,
        affine.shift.into(),
        bias as u32,
        (bias >> 32) as u32,
    ]
}
