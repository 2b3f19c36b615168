//! An opened GPU.

use std::sync::Arc;

use pollster::block_on;
use wgpu::{ErrorFilter, Features};

use super::Error;
use super::adapter::{self, Adapter};
use super::operators::Pipelines;

/// An opened GPU with its compiled operators. Opening takes about a second: share one. Copies are
/// the same GPU.
#[derive(Debug, Clone)]
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) pipelines: Pipelines,
    adapter: Adapter,
}

impl Gpu {
    /// Opens the fastest GPU, or the software driver if there is no other.
    ///
    /// # Errors
    /// [`Error::NoInterface`], [`Error::NoAdapter`], [`Error::Device`] or [`Error::Command`] if
    /// there is no usable GPU.
    pub fn new() -> Result<Self, Error> {
        Self::open(&adapter::fastest()?)
    }

    /// Opens the first GPU whose name contains `name`, in any case.
    ///
    /// # Errors
    /// [`Error::UnknownAdapter`] if there is none, otherwise like [`new`](Self::new).
    pub fn with_name(name: &str) -> Result<Self, Error> {
        Self::open(&adapter::with_name(name)?)
    }

    /// What this GPU is.
    #[must_use]
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    fn open(adapter: &wgpu::Adapter) -> Result<Self, Error> {
        let found = Adapter::of(adapter);
        let largest = adapter.limits();
        // Large batches take large buffers; all else is what every GPU has.
        let required_limits = wgpu::Limits {
            max_buffer_size: largest.max_buffer_size,
            max_storage_buffer_binding_size: largest.max_storage_buffer_binding_size,
            ..wgpu::Limits::downlevel_defaults()
        };
        let opened = block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            required_features: adapter.features() & Features::TIMESTAMP_QUERY,
            required_limits,
            ..Default::default()
        }));
        let (device, queue) = opened.map_err(|source| Error::Device {
            adapter: found.name.clone(),
            source,
        })?;
        // Commands run within `checked`. What fails outside of it is a lost GPU, which whoever
        // waits for results is told; by default wgpu would panic.
        device.on_uncaptured_error(Arc::new(|_| ()));
        let pipelines = checked(&device, || Pipelines::new(&device))?;
        Ok(Self {
            device,
            queue,
            pipelines,
            adapter: found,
        })
    }
}

/// Runs commands whose errors wgpu would otherwise answer with a panic.
pub(super) fn checked<T>(device: &wgpu::Device, commands: impl FnOnce() -> T) -> Result<T, Error> {
    let scopes = [
        ErrorFilter::Internal,
        ErrorFilter::Validation,
        ErrorFilter::OutOfMemory,
    ]
    .map(|filter| device.push_error_scope(filter));
    let done = commands();
    // Scopes are closed in the reverse of the order in which they were opened.
    let errors = scopes.into_iter().rev().map(|scope| block_on(scope.pop()));
    match errors.fold(None, Option::or) {
        Some(error) => Err(Error::Command(error)),
        None => Ok(done),
    }
}
