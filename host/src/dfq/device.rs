//! Where training runs, as the user says it.

use std::{fmt, str::FromStr};

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::{Error, Result};
use crate::graph::{Operators, Placement, Precision};

/// Where training runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceName {
    /// `cpu`: this machine's processor, with operators tuned for it.
    #[default]
    Cpu,
    /// `cpu-composed`: this machine's processor with the operators of GPUs: slow, to look for
    /// faults in these.
    CpuComposed,
    /// `cuda:N`: an NVIDIA GPU, counted from 0.
    Cuda(usize),
}

/// How precisely a device multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rounding {
    /// Products of matrices on a GPU with 10 bits of fraction.
    pub tf32: bool,
    /// Convolutions and linear layers of generator and teacher with `bf16`, 7 bits of fraction.
    pub bf16: bool,
}

impl DeviceName {
    /// Opens the device.
    ///
    /// # Errors
    /// [`Error::NoCuda`] in a build without GPUs, [`Error::Device`] if there is no such device,
    /// [`Error::Setting`] if it has no such rounding.
    pub fn open(self, rounding: Rounding) -> Result<Placement> {
        self.check(rounding)?;
        let precision = match rounding.bf16 {
            true => Precision::BFloat16,
            false => Precision::Single,
        };
        let (device, operators) = match self {
            Self::Cpu => (Device::Cpu, Operators::Tuned),
            Self::CpuComposed => (Device::Cpu, Operators::Composed(precision)),
            Self::Cuda(index) => (self.open_cuda(index)?, Operators::Composed(precision)),
        };
        if device.is_cuda() {
            // A switch of the whole process: candle has no other.
            candle_core::cuda::set_gemm_reduced_precision_f32(rounding.tf32);
        }
        Ok(Placement { device, operators })
    }

    /// Checks that the device can round so.
    ///
    /// # Errors
    /// [`Error::Setting`] names the setting that needs another device.
    pub fn check(self, Rounding { tf32, bf16 }: Rounding) -> Result<()> {
        let expected = "off, or `device` a GPU such as `cuda:0`";
        if tf32 && !matches!(self, Self::Cuda(_)) {
            return Err(Error::Setting {
                name: "tf32",
                expected,
            });
        }
        if bf16 && self == Self::Cpu {
            return Err(Error::Setting {
                name: "bf16",
                expected,
            });
        }
        Ok(())
    }

    fn open_cuda(self, index: usize) -> Result<Device> {
        if !cfg!(feature = "cuda") {
            return Err(Error::NoCuda(self));
        }
        Device::new_cuda(index).map_err(|cause| Error::Device {
            name: self,
            cause: cause.into(),
        })
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::CpuComposed => f.write_str("cpu-composed"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// `cpu`, `cpu-composed`, `cuda` (the first one) or `cuda:N`.
impl FromStr for DeviceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let index = |text: &str| text.strip_prefix("cuda:")?.parse().ok();
        match text {
            "cpu" => Ok(Self::Cpu),
            "cpu-composed" => Ok(Self::CpuComposed),
            "cuda" => Ok(Self::Cuda(0)),
            _ => index(text)
                .map(Self::Cuda)
                .ok_or_else(|| Error::DeviceText(text.to_owned())),
        }
    }
}

impl TryFrom<String> for DeviceName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for text in ["cpu", "cpu-composed", "cuda:0", "cuda:3"] {
            assert_eq!(text.parse::<DeviceName>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse::<DeviceName>().unwrap(), DeviceName::Cuda(0));
        for wrong in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "cuda0"] {
            let error = wrong.parse::<DeviceName>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{wrong}`")), "{error}");
            assert!(error.contains("cuda:0"), "{error}");
        }
    }

    #[test]
    fn devices_are_refused_with_what_would_help() {
        let plain = Rounding::default();
        let error = DeviceName::Cuda(0).open(plain);
        if cfg!(feature = "cuda") {
            return;
        }
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("cuda:0") && error.contains("--features cuda"),
            "{error}"
        );
        let [tf32, bf16] =
            [(true, false), (false, true)].map(|(tf32, bf16)| Rounding { tf32, bf16 });
        for (device, rounding, name) in [
            (DeviceName::Cpu, tf32, "tf32"),
            (DeviceName::CpuComposed, tf32, "tf32"),
            (DeviceName::Cpu, bf16, "bf16"),
        ] {
            let error = device.open(rounding).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("cuda:0"), "{error}");
        }
        let placement = DeviceName::CpuComposed.open(bf16).unwrap();
        let expected = Operators::Composed(Precision::BFloat16);
        assert_eq!(placement.operators, expected);
    }
}
