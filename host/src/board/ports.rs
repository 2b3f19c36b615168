//! Serial ports of this computer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serialport::SerialPortType;

/// Vendor and product of a USB device, written `0483:374b`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct UsbId {
    /// Vendor.
    pub vendor: u16,
    /// Product.
    pub product: u16,
}

impl FromStr for UsbId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let digits = text.len() == 4 && text.chars().all(|digit| digit.is_ascii_hexdigit());
            digits.then(|| u16::from_str_radix(text, 16).ok())?
        };
        let parts = text.split_once(':');
        let numbers = parts.and_then(|(vendor, product)| Some((number(vendor)?, number(product)?)));
        let (vendor, product) = numbers.ok_or_else(|| {
            format!("`{text}` is no USB id: two numbers of four hexadecimal digits, as 0483:374b")
        })?;
        Ok(Self { vendor, product })
    }
}

impl TryFrom<String> for UsbId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<UsbId> for String {
    fn from(id: UsbId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for UsbId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04x}:{:04x}", self.vendor, self.product)
    }
}

/// A serial port that is plugged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// As one opens it.
    pub name: String,
    /// What it says about itself, if it is on USB.
    pub usb: Option<UsbId>,
    /// Its maker's name for it.
    pub product: Option<String>,
}

/// All serial ports on USB; none where the system does not tell.
#[must_use]
pub fn list() -> Vec<Port> {
    // Where this is missing, in some containers, the library panics.
    if cfg!(target_os = "linux") && !std::path::Path::new("/sys/class/tty").is_dir() {
        return Vec::new();
    }
    let found = serialport::available_ports().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot list serial ports");
        Vec::new()
    });
    let ports = found.into_iter().filter_map(|port| match port.port_type {
        SerialPortType::UsbPort(usb) => Some(Port {
            name: port.port_name,
            usb: Some(UsbId {
                vendor: usb.vid,
                product: usb.pid,
            }),
            product: usb.product,
        }),
        _ => None,
    });
    ports.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usb_ids_are_two_numbers_of_four_digits() {
        let id: UsbId = "0483:374B".parse().expect("is one");
        assert_eq!((id.vendor, id.product), (0x0483, 0x374b));
        assert_eq!(id.to_string(), "0483:374b");
        for text in [
            "",
            "0483",
            "483:374b",
            "0483:374g",
            "0483:374b:1",
            "+483:374b",
        ] {
            assert!(text.parse::<UsbId>().is_err(), "{text}");
        }
    }
}
