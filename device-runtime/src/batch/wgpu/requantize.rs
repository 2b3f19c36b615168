//! The epilogue of a convolution, `shaders/requantize.wgsl`.

use std::vec::Vec;

use wgpu::BufferUsages;

use super::buffers::integers;
use super::device::checked;
use super::operators::{REQUANTIZE, WORKGROUP_SIZE, bind, compile};
use super::parameters::affine_words;
use super::{Error, Gpu};
use crate::arithmetic::Affine;

const MAX_MULTIPLIER: u32 = 1 << 30;
const BIAS_END: u64 = 1 << 61;
const MAX_SHIFT: u8 = 62;

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
        let channels: Vec<_> = channels.iter().map(affine_words).collect();
        let (sums, channels) = (bytemuck::cast_slice(sums), bytemuck::cast_slice(&channels));
        self.check_size("sums", sums.len() as u64)?;
        self.check_size("channels", channels.len() as u64)?;
        let range = [low, high];
        self.run_requantize(sums, channels, bytemuck::cast_slice(&range))
    }

    fn run_requantize(
        &self,
        sums: &[u8],
        channels: &[u8],
        range: &[u8],
    ) -> Result<Vec<i32>, Error> {
        let bytes = sums.len() as u64;
        let readback = checked(&self.device, || {
            let result = self.buffer(bytes, BufferUsages::STORAGE | BufferUsages::COPY_SRC);
            let readback = self.buffer(bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST);
            let buffers = [
                self.upload(sums, BufferUsages::STORAGE),
                self.upload(channels, BufferUsages::STORAGE),
                self.upload(range, BufferUsages::UNIFORM),
                result.clone(),
            ];
            let pipeline = compile(&self.device, &REQUANTIZE, None);
            let bindings = bind(&self.device, &pipeline.get_bind_group_layout(0), &buffers);
            let mut encoder = self.device.create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                pass.set_pipeline(&pipeline);
                pass.set_bind_group(0, &bindings, &[]);
                let words = bytes / size_of::<i32>() as u64;
                let workgroups = words.div_ceil(WORKGROUP_SIZE.into());
                pass.dispatch_workgroups(self.workgroups(workgroups), 1, 1);
            }
            encoder.copy_buffer_to_buffer(&result, 0, &readback, 0, bytes);
            self.queue.submit([encoder.finish()]);
            readback
        })?;
        self.read(&readback, bytes, integers)
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
