//! What the user may do.

use std::path::Path;

use super::{Check, State, names};
use crate::board::install::Installer;
use crate::board::{BoardSpec, ports};

/// Where systems keep rules on who may use which USB device.
const RULES: [&str; 3] = [
    "/etc/udev/rules.d",
    "/usr/lib/udev/rules.d",
    "/lib/udev/rules.d",
];
/// Parts of the names of files that let users use debuggers.
const DEBUGGERS: [&str; 4] = ["probe-rs", "openocd", "stlink", "jlink"];

/// Whether emulated boards can keep their flash.
pub(super) fn state_directory(directory: Option<&Path>) -> Check {
    let (name, purpose) = ("state directory", "memory of emulated boards");
    let remedy = "give another one with --state DIR or LOWBIT_STATE_DIR";
    let lacking =
        |found: String| Check::lacking(State::Bad, name, purpose, found, remedy.to_owned());
    let Some(directory) = directory else {
        return lacking("there is no home directory".to_owned());
    };
    let written = fs_err::create_dir_all(directory)
        .and_then(|()| tempfile::tempfile_in(directory).map(|_| ()));
    match written {
        Ok(()) => Check::good(name, purpose, directory.display().to_string()),
        Err(error) => lacking(error.to_string()),
    }
}

/// Whether ports that are plugged in can be used.
pub(super) fn serial_ports() -> Vec<Check> {
    let ports = ports::list().into_iter();
    let check = |port: ports::Port| {
        let purpose = port.product.unwrap_or_else(|| "serial port".to_owned());
        if may_use(Path::new(&port.name)) {
            return Check::good(&port.name, &purpose, "may be used".to_owned());
        }
        let remedy = "join the group that it belongs to (`sudo usermod -a -G dialout $USER`; on \
                      Arch the group is uucp) and log in again";
        let found = "you may not use it".to_owned();
        Check::lacking(State::Bad, &port.name, &purpose, found, remedy.to_owned())
    };
    ports.map(check).collect()
}

/// Asked without opening the port: that restarts some boards.
#[cfg(unix)]
fn may_use(port: &Path) -> bool {
    use rustix::fs::{Access, access};

    access(port, Access::READ_OK | Access::WRITE_OK).is_ok()
}

/// Elsewhere every user may.
#[cfg(not(unix))]
fn may_use(_port: &Path) -> bool {
    true
}

/// Whether users other than root may use debuggers, where the system asks for rules.
pub(super) fn debuggers(boards: &[BoardSpec]) -> Option<Check> {
    let debugged = |board: &BoardSpec| matches!(board.installer, Some(Installer::ProbeRs { .. }));
    let boards = names(boards, debugged);
    if !cfg!(target_os = "linux") || boards.is_empty() {
        return None;
    }
    let purpose = format!("debuggers of {boards}");
    let rules = RULES
        .iter()
        .filter_map(|folder| fs_err::read_dir(folder).ok());
    let names = rules
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let known = names.filter(|name| DEBUGGERS.iter().any(|part| name.contains(part)));
    let known: Vec<_> = known.collect();
    Some(if known.is_empty() {
        let remedy = "https://probe.rs/docs/getting-started/probe-setup has a file of udev rules";
        let found = "no rules for debuggers".to_owned();
        Check::lacking(State::Optional, "udev", &purpose, found, remedy.to_owned())
    } else {
        Check::good("udev", &purpose, known.join(", "))
    })
}
