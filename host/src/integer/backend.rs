//! What can compute a packed network on this computer. Results do not depend on it.

use std::fmt;
use std::str::FromStr;

use lowbit_runtime::batch::Instructions;
#[cfg(feature = "wgpu")]
use lowbit_runtime::batch::wgpu::Gpu;

use super::Error;

/// What computes a packed network on this computer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// Many images at once with the processor's vector instructions, on all cores.
    #[default]
    Cpu,
    /// Many images at once on a GPU.
    Wgpu,
    /// The portable kernels, image after image: what a board without tuned kernels runs.
    Portable,
}

impl Backend {
    /// Every backend.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Wgpu, Self::Portable];

    /// What a user calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
            Self::Portable => "portable",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no backend of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no backend `{0}`; there are cpu, wgpu and portable")]
pub struct UnknownBackend(String);

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(text: &str) -> Result<Self, UnknownBackend> {
        let found = Self::ALL.into_iter().find(|backend| backend.name() == text);
        found.ok_or_else(|| UnknownBackend(text.to_owned()))
    }
}

/// A backend that is ready to be used.
#[derive(Debug, Clone, Default)]
pub enum Processor {
    /// The processor's vector instructions.
    #[default]
    Cpu,
    /// An opened GPU.
    #[cfg(feature = "wgpu")]
    Gpu(Gpu),
    /// The portable kernels.
    Portable,
}

impl Processor {
    /// Makes `backend` ready. Of GPUs the first whose name contains `adapter` is taken, in any
    /// case; the fastest without it.
    ///
    /// # Errors
    /// If there is no such GPU, or this build has no backend for GPUs.
    pub fn open(backend: Backend, adapter: Option<&str>) -> Result<Self, Error> {
        match backend {
            Backend::Cpu => Ok(Self::Cpu),
            Backend::Portable => Ok(Self::Portable),
            #[cfg(feature = "wgpu")]
            Backend::Wgpu => {
                let gpu = adapter.map_or_else(Gpu::new, Gpu::with_name);
                Ok(Self::Gpu(gpu.map_err(Error::Gpu)?))
            }
            #[cfg(not(feature = "wgpu"))]
            Backend::Wgpu => {
                let _ = adapter;
                Err(Error::BuiltWithoutGpu)
            }
        }
    }

    /// The backend.
    #[must_use]
    pub fn backend(&self) -> Backend {
        match self {
            Self::Cpu => Backend::Cpu,
            #[cfg(feature = "wgpu")]
            Self::Gpu(_) => Backend::Wgpu,
            Self::Portable => Backend::Portable,
        }
    }

    /// What computes, for people: instructions and threads, or the GPU and what it is.
    #[must_use]
    pub fn device(&self) -> String {
        let threads = rayon::current_num_threads();
        match self {
            Self::Cpu => format!("{}, {threads} threads", Instructions::best().name()),
            #[cfg(feature = "wgpu")]
            Self::Gpu(gpu) => {
                let adapter = gpu.adapter();
                format!("{}, {}", adapter.name, adapter.kind)
            }
            Self::Portable => format!("portable kernels, {threads} threads"),
        }
    }

    /// Products that a GPU multiplies and adds per second when it does nothing else: packed, as its
    /// convolutions do, and one at a time. Nothing of other processors.
    ///
    /// # Errors
    /// If the GPU fails.
    pub fn peak(&self) -> Result<Option<[f64; 2]>, Error> {
        match self {
            #[cfg(feature = "wgpu")]
            Self::Gpu(gpu) => {
                let peak = gpu.peak().map_err(Error::Gpu)?;
                Ok(Some([peak.packed, peak.plain]))
            }
            Self::Cpu | Self::Portable => Ok(None),
        }
    }

    /// Whether a GPU was asked for and its driver computes on the processor instead.
    #[must_use]
    pub fn is_software_gpu(&self) -> bool {
        match self {
            #[cfg(feature = "wgpu")]
            Self::Gpu(gpu) => {
                gpu.adapter().kind == lowbit_runtime::batch::wgpu::AdapterKind::Software
            }
            Self::Cpu | Self::Portable => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for backend in Backend::ALL {
            assert_eq!(backend.to_string().parse(), Ok(backend));
        }
        let error = "gpu".parse::<Backend>().unwrap_err().to_string();
        for backend in Backend::ALL {
            assert!(error.contains(backend.name()), "{error}");
        }
    }
}
