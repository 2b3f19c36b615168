//! What the end-to-end tests share: the real binary, the data sets, and a place for results.

mod cifar_network;
mod cores;
mod emulator;
mod exports;
mod faulty_line;
mod network_builder;
mod random_checkpoint;
mod random_network;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

pub use cifar_network::quantized_resnet20;
pub use cores::{CORES, Core};
#[cfg(unix)]
pub use emulator::signal;
pub use emulator::{Emulator, build_script, built_firmware, run_build};
pub use exports::{write_onnx, write_pytorch};
pub use faulty_line::{Faults, FaultyLine, Per};
pub use network_builder::{NetworkBuilder, Shape};
pub use random_checkpoint::random_checkpoint;
pub use random_network::{noise, noise_images, random_network};
#[cfg(unix)]
pub use rustix::process::Signal;

/// Root of the repository.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A file of the data folder (`LOWBIT_DATA`, by default `../shared/data`), or `None` with a line
/// that names the skipped test. Continuous integration always has the data.
///
/// # Panics
/// With `CI` set, when the file is missing.
#[must_use]
pub fn data(test: &str, file: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("LOWBIT_DATA")
        .map_or_else(|| repository().join("../shared/data"), PathBuf::from);
    let path = folder.join(file);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "`{test}` needs `{}`",
        path.display()
    );
    skip(
        test,
        &format!("`{}` is missing (set LOWBIT_DATA)", path.display()),
    );
    None
}

/// Whether QEMU is there; if not, a line names the skipped test.
///
/// # Panics
/// With `CI` set, when QEMU is missing.
#[must_use]
pub fn qemu(test: &str) -> bool {
    let found = Command::new("qemu-system-arm")
        .arg("--version")
        .output()
        .is_ok();
    assert!(
        found || std::env::var_os("CI").is_none(),
        "`{test}` needs qemu-system-arm"
    );
    if !found {
        skip(
            test,
            "qemu-system-arm is missing (scripts/setup installs it)",
        );
    }
    found
}

/// Whether this computer has a GPU or software Vulkan; if not, a line names the skipped test.
///
/// # Panics
/// With `CI` set, when there is neither.
#[cfg(feature = "wgpu")]
#[must_use]
pub fn gpu(test: &str) -> bool {
    let boards = run(["boards", "--json"]).json();
    let adapters = boards["adapters"].as_array().map_or(0, Vec::len);
    assert!(
        adapters > 0 || std::env::var_os("CI").is_none(),
        "`{test}` needs a GPU or software Vulkan"
    );
    if adapters == 0 {
        skip(
            test,
            "there is no GPU (scripts/setup --vulkan installs software Vulkan)",
        );
    }
    adapters > 0
}

fn skip(test: &str, reason: &str) {
    // Not `eprintln!`: the test harness hides what a passing test prints.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
}

/// The `lowbit` binary, built from the present source.
///
/// # Panics
/// When it does not build.
#[must_use]
pub fn lowbit() -> Command {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let binary = BINARY.get_or_init(|| {
        let features: &[&str] = if cfg!(feature = "wgpu") {
            &["--features", "wgpu"]
        } else {
            &[]
        };
        // Both packages: with the same features as for the tests, cargo compiles nothing twice.
        let packages = ["--package", "lowbit-host", "--package", "lowbit-tests"];
        let built = Command::new(env!("CARGO"))
            .args(["build", "--release", "--quiet", "--bin", "lowbit"])
            .args(packages)
            .args(features)
            .current_dir(repository())
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "lowbit does not build"
        );
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| repository().join("target"), PathBuf::from);
        target.join("release/lowbit")
    });
    Command::new(binary)
}

/// What a finished command printed.
#[derive(Debug)]
pub struct Finished {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// The JSON object on standard output.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in `{}`; {}", self.stdout, self.stderr))
    }
}

/// Runs `lowbit` to its end.
///
/// # Panics
/// When it cannot be started, is ended by a signal, or panics.
pub fn run<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Finished {
    finish(lowbit().args(arguments))
}

/// Runs a prepared `lowbit` to its end.
///
/// # Panics
/// When it cannot be started, is ended by a signal, or panics.
pub fn finish(command: &mut Command) -> Finished {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("lowbit starts");
    let finished = Finished {
        code: status.code().expect("no signal ends lowbit"),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    };
    assert!(
        !finished.stderr.contains("panicked at"),
        "{}",
        finished.stderr
    );
    finished
}
