//! Memory of the GPU.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::vec::Vec;

use wgpu::BufferUsages;

use super::{Error, Gpu};

/// Shaders count words in 32 bits, and positions a little beyond the last.
const ADDRESSABLE: u64 = 1 << 33;

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
        binding.min(limits.max_buffer_size).min(ADDRESSABLE)
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
        self.wait()?;
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

    /// Waits for all that was submitted.
    pub(super) fn wait(&self) -> Result<(), Error> {
        let poll = || self.device.poll(wgpu::PollType::wait_indefinitely());
        // wgpu panics if the GPU is lost meanwhile; what was computed on it is given up anyway.
        match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::Lost),
        }
    }
}

/// Words of the GPU as integers.
pub(super) fn integers(words: &[[u8; 4]]) -> Vec<i32> {
    words.iter().copied().map(i32::from_ne_bytes).collect()
}
