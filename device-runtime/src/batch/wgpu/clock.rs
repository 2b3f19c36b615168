//! Time on the GPU.

use std::time::Duration;

use wgpu::{BufferUsages, ComputePassTimestampWrites};

use super::{Error, Gpu};

/// Bytes of a time stamp.
const STAMP: u64 = 8;

/// Measures how long a compute pass takes, without the way there and back.
#[derive(Debug)]
pub(super) struct Clock {
    stamps: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readback: wgpu::Buffer,
    /// Nanoseconds per tick.
    period: f64,
}

impl Clock {
    /// Nothing where the GPU has no time stamps.
    pub(super) fn new(gpu: &Gpu) -> Option<Self> {
        if !gpu
            .device
            .features()
            .contains(wgpu::Features::TIMESTAMP_QUERY)
        {
            return None;
        }
        let stamps = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let resolved = BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC;
        let readback = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
        Some(Self {
            stamps,
            resolved: gpu.buffer(2 * STAMP, resolved),
            readback: gpu.buffer(2 * STAMP, readback),
            period: gpu.queue.get_timestamp_period().into(),
        })
    }

    /// To be given to the pass.
    pub(super) fn writes(&self) -> ComputePassTimestampWrites<'_> {
        ComputePassTimestampWrites {
            query_set: &self.stamps,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        }
    }

    /// After the pass, before its commands are submitted.
    pub(super) fn stop(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.stamps, 0..2, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readback, 0, 2 * STAMP);
    }

    /// Waits for the pass and returns its duration.
    pub(super) fn read(&self, gpu: &Gpu) -> Result<Duration, Error> {
        gpu.read(&self.readback, 2 * STAMP, |words| {
            let stamps = words.as_chunks::<2>().0.iter();
            let mut stamps = stamps.map(|[low, high]| {
                u64::from(u32::from_ne_bytes(*high)) << 32 | u64::from(u32::from_ne_bytes(*low))
            });
            let (start, end) = (stamps.next(), stamps.next());
            let ticks = end.unwrap_or(0).saturating_sub(start.unwrap_or(0));
            Duration::from_nanos((ticks as f64 * self.period) as u64)
        })
    }
}
