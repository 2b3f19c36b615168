//! The GPUs of this computer.

use std::fmt;
use std::string::String;
use std::vec::Vec;

use pollster::block_on;

use super::Error;

/// A GPU of this computer, or a driver that computes like one on the processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// What its driver calls it.
    pub name: String,
    /// What it is made of.
    pub kind: AdapterKind,
    /// Name and version of its driver.
    pub driver: String,
}

/// What an adapter is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdapterKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// Part of a GPU, in a virtual machine.
    Virtual,
    /// No GPU: the driver computes on the processor. Good to test shaders, slow otherwise.
    Software,
    /// The driver does not say.
    Unknown,
}

impl AdapterKind {
    /// What a user calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Discrete => "discrete GPU",
            Self::Integrated => "integrated GPU",
            Self::Virtual => "virtual GPU",
            Self::Software => "software",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for AdapterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<wgpu::DeviceType> for AdapterKind {
    fn from(kind: wgpu::DeviceType) -> Self {
        match kind {
            wgpu::DeviceType::DiscreteGpu => Self::Discrete,
            wgpu::DeviceType::IntegratedGpu => Self::Integrated,
            wgpu::DeviceType::VirtualGpu => Self::Virtual,
            wgpu::DeviceType::Cpu => Self::Software,
            wgpu::DeviceType::Other => Self::Unknown,
        }
    }
}

impl Adapter {
    pub(super) fn of(adapter: &wgpu::Adapter) -> Self {
        let found = adapter.get_info();
        let driver = [found.driver, found.driver_info];
        let driver: Vec<_> = driver.into_iter().filter(|part| !part.is_empty()).collect();
        Self {
            name: found.name,
            kind: found.device_type.into(),
            driver: driver.join(" "),
        }
    }

    /// All GPUs and software drivers.
    ///
    /// # Errors
    /// [`Error::NoInterface`] if this build cannot ask for them.
    pub fn all() -> Result<Vec<Self>, Error> {
        Ok(adapters()?.iter().map(Self::of).collect())
    }
}

/// The fastest GPU, or the software driver if there is no other.
pub(super) fn fastest() -> Result<wgpu::Adapter, Error> {
    let wanted = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..Default::default()
    };
    block_on(instance()?.request_adapter(&wanted)).map_err(Error::NoAdapter)
}

/// The first GPU whose name contains `name`, in any case.
pub(super) fn with_name(name: &str) -> Result<wgpu::Adapter, Error> {
    let adapters = adapters()?;
    if adapters.is_empty() {
        return fastest();
    }
    let names: Vec<_> = adapters.iter().map(|found| found.get_info().name).collect();
    let wanted = name.to_lowercase();
    let is_wanted = |name: &String| name.to_lowercase().contains(&wanted);
    let found = names.iter().position(is_wanted);
    let found = found.and_then(|index| adapters.into_iter().nth(index));
    found.ok_or_else(|| Error::UnknownAdapter {
        wanted: name.into(),
        available: names.join(", "),
    })
}

fn adapters() -> Result<Vec<wgpu::Adapter>, Error> {
    Ok(block_on(
        instance()?.enumerate_adapters(wgpu::Backends::all()),
    ))
}

fn instance() -> Result<wgpu::Instance, Error> {
    if wgpu::Instance::enabled_backend_features().is_empty() {
        return Err(Error::NoInterface);
    }
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    Ok(wgpu::Instance::new(descriptor))
}
