//! An opened GPU.

use std::string::{String, ToString};
use std::vec::Vec;

use pollster::block_on;
use wgpu::ErrorFilter;

use super::Error;
use super::operators::Pipelines;

/// An opened GPU with its compiled operators. Opening takes about a second: share one. Copies are
/// the same GPU.
#[derive(Debug, Clone)]
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) pipelines: Pipelines,
    name: String,
}

impl Gpu {
    /// Opens the fastest GPU, or the software driver if there is no other.
    ///
    /// # Errors
    /// [`Error::NoInterface`], [`Error::NoAdapter`], [`Error::Device`] or [`Error::Command`] if
    /// there is no usable GPU.
    pub fn new() -> Result<Self, Error> {
        let adapter = block_on(instance()?.request_adapter(&wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        }));
        Self::open(&adapter.map_err(Error::NoAdapter)?)
    }

    /// Opens the first GPU whose name contains `name`, in any case.
    ///
    /// # Errors
    /// [`Error::UnknownAdapter`] if there is none, otherwise like [`new`](Self::new).
    pub fn with_name(name: &str) -> Result<Self, Error> {
        let adapters = block_on(instance()?.enumerate_adapters(wgpu::Backends::all()));
        let wanted = name.to_lowercase();
        let found = adapters
            .iter()
            .find(|adapter| adapter.get_info().name.to_lowercase().contains(&wanted));
        match found {
            Some(adapter) => Self::open(adapter),
            None if adapters.is_empty() => Self::new(),
            None => Err(Error::UnknownAdapter {
                wanted: name.to_string(),
                available: names(&adapters).join(", "),
            }),
        }
    }

    /// Names of all GPUs and software drivers.
    ///
    /// # Errors
    /// [`Error::NoInterface`] if this build cannot ask for them.
    pub fn adapters() -> Result<Vec<String>, Error> {
        let adapters = block_on(instance()?.enumerate_adapters(wgpu::Backends::all()));
        Ok(names(&adapters))
    }

    /// Name of this GPU.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn open(adapter: &wgpu::Adapter) -> Result<Self, Error> {
        let name = adapter.get_info().name;
        let largest = adapter.limits();
        // Large batches take large buffers; all else is what every GPU has.
        let required_limits = wgpu::Limits {
            max_buffer_size: largest.max_buffer_size,
            max_storage_buffer_binding_size: largest.max_storage_buffer_binding_size,
            ..wgpu::Limits::downlevel_defaults()
        };
        let opened = block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            required_limits,
            ..Default::default()
        }));
        let (device, queue) = opened.map_err(|source| Error::Device {
            adapter: name.clone(),
            source,
        })?;
        let pipelines = checked(&device, || Pipelines::new(&device))?;
        Ok(Self {
            device,
            queue,
            pipelines,
            name,
        })
    }
}

fn instance() -> Result<wgpu::Instance, Error> {
    if wgpu::Instance::enabled_backend_features().is_empty() {
        return Err(Error::NoInterface);
    }
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    Ok(wgpu::Instance::new(descriptor))
}

fn names(adapters: &[wgpu::Adapter]) -> Vec<String> {
    let names = adapters.iter().map(|adapter| adapter.get_info().name);
    names.collect()
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
