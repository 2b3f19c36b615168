//! What a GPU reaches at most, `shaders/peak.wgsl`.

use std::time::{Duration, Instant};

use wgpu::BufferUsages;

use super::clock::Clock;
use super::device::checked;
use super::operators::{PACKED_PRODUCTS, PLAIN_PRODUCTS, Shader, WORKGROUP_SIZE, bind, compile};
use super::{Error, Gpu};

/// Enough to keep every GPU busy.
const WORKGROUPS: u32 = 4096;
/// `CHAINS * REPETITIONS` of the shader: instructions per invocation and step.
const INSTRUCTIONS: u32 = 8 * 16;
/// Shorter runs would measure the start.
const LONG_ENOUGH: Duration = Duration::from_millis(20);
const MOST_STEPS: u32 = 1 << 14;

/// Products that a GPU multiplies and adds per second when it does nothing else.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// With `dot4U8Packed`, four products of 8-bit codes at a time, which the convolutions use.
    pub packed: f64,
    /// One at a time with 32 bits.
    pub plain: f64,
}

impl Gpu {
    /// Measures what this GPU reaches at most.
    ///
    /// # Errors
    /// [`Error::Command`] or [`Error::Lost`] if the GPU fails.
    pub fn peak(&self) -> Result<Peak, Error> {
        Ok(Peak {
            packed: 4.0 * self.instructions_per_second(&PACKED_PRODUCTS)?,
            plain: self.instructions_per_second(&PLAIN_PRODUCTS)?,
        })
    }

    fn instructions_per_second(&self, shader: &Shader) -> Result<f64, Error> {
        let invocations = WORKGROUPS * WORKGROUP_SIZE;
        let (pipeline, results, clock) = checked(&self.device, || {
            let results = self.buffer(u64::from(invocations) * 4, BufferUsages::STORAGE);
            let pipeline = compile(&self.device, shader, None);
            (pipeline, results, Clock::new(self))
        })?;
        let mut steps = 1;
        loop {
            let time = self.time(&pipeline, &results, clock.as_ref(), steps)?;
            if time >= LONG_ENOUGH || steps >= MOST_STEPS {
                let done = f64::from(invocations) * f64::from(INSTRUCTIONS) * f64::from(steps);
                return Ok(done / time.as_secs_f64().max(f64::MIN_POSITIVE));
            }
            steps *= 2;
        }
    }

    /// On the GPU's clock, or on this computer's if it has none.
    fn time(
        &self,
        pipeline: &wgpu::ComputePipeline,
        results: &wgpu::Buffer,
        clock: Option<&Clock>,
        steps: u32,
    ) -> Result<Duration, Error> {
        let start = Instant::now();
        checked(&self.device, || {
            let steps = [steps, 0, 0, 0];
            let steps = self.upload(bytemuck::cast_slice(&steps), BufferUsages::UNIFORM);
            let layout = pipeline.get_bind_group_layout(0);
            let bindings = bind(&self.device, &layout, [&steps, results]);
            let mut encoder = self.device.create_command_encoder(&Default::default());
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: clock.map(Clock::writes),
            });
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, &bindings, &[]);
            pass.dispatch_workgroups(WORKGROUPS, 1, 1);
            drop(pass);
            if let Some(clock) = clock {
                clock.stop(&mut encoder);
            }
            self.queue.submit([encoder.finish()]);
        })?;
        match clock {
            Some(clock) => clock.read(self),
            None => {
                self.wait()?;
                Ok(start.elapsed())
            }
        }
    }
}
