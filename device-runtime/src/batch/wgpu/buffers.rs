//! Memory of the GPU.

use std::sync::mpsc;
use std::vec::Vec;

use wgpu::BufferUsages;

use super::{Error, Gpu};

impl Gpu {
    /// Whether a shader can be given `found` bytes at once.
    pub(super) fn check_size(&self, what: &'static str, found: u64) -> Result<(), Error> {
        let most = self.largest_buffer();
        if found > most {
            return Err(Error::TooLarge { what, found, most });
        }
        Ok(())
    }

    /// Most bytes that a shader can be given at once.
    pub(super) fn largest_buffer(&self) -> u64 {
        let limits = self.device.limits();
        let binding = limits.max_storage_buffer_binding_size;
        binding.min(limits.max_buffer_size)
    }

    /// As many workgroups as are wanted and allowed; shaders loop over what is left.
    pub(super) fn workgroups(&self, wanted: u64) -> u32 {
        let most = self.device.limits().max_compute_workgroups_per_dimension;
        u32::try_from(wanted).map_or(most, |wanted| wanted.min(most))
    }

    pub(super) fn buffer(&self, size: u64, usage: BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        })
    }

    /// A buffer of `bytes`, whole words of them.
    pub(super) fn upload(&self, bytes: &[u8], usage: BufferUsages) -> wgpu::Buffer {
        let buffer = self.buffer(bytes.len() as u64, usage | BufferUsages::COPY_DST);
        self.queue.write_buffer(&buffer, 0, bytes);
        buffer
    }

    /// Waits for all that was submitted and gives the first `bytes` of `readback` to `read`.
    pub(super) fn read<T>(
        &self,
        readback: &wgpu::Buffer,
        bytes: u64,
        read: impl FnOnce(&[[u8; 4]]) -> T,
    ) -> Result<T, Error> {
        let (sender, receiver) = mpsc::channel();
        readback.map_async(wgpu::MapMode::Read, ..bytes, move |mapped| {
            // Nobody listens any more if an error has been returned meanwhile.
            let _ = sender.send(mapped);
        });
        let waited = self.device.poll(wgpu::PollType::wait_indefinitely());
        waited.map_err(|_| Error::Lost)?;
        let mapped = receiver.recv().map_err(|_| Error::Lost)?;
        mapped.map_err(|_| Error::Lost)?;
        let result = {
            let view = readback
                .get_mapped_range(..bytes)
                .map_err(|_| Error::Lost)?;
            read(view.as_chunks().0)
        };
        readback.unmap();
        Ok(result)
    }
}

/// Words of the GPU as integers.
pub(super) fn integers(words: &[[u8; 4]]) -> Vec<i32> {
    words.iter().copied().map(i32::from_ne_bytes).collect()
}
