//! Boards: what they are, how to reach them, how to put a model on them, and the proof that they
//! compute what the host computes.
//!
//! ```text
//!  registry ──▶ BoardSpec ──firmware, transport──▶ Client ──flash──▶ model on the board
//!                                                    ├────verify──▶ Verdict
//!                                                    ├─────bench──▶ Measurement
//!                                                    └─calibrate──▶ record on the board
//! ```

mod bench;
mod calibrate;
mod client;
mod error;
mod firmware;
mod flash;
mod inputs;
pub mod install;
mod line;
pub mod ports;
mod records;
mod registry;
mod stream;
pub mod transport;
mod verify;

pub use bench::{Layer, Measurement, bench};
pub use calibrate::{BoardCalibration, CalibrationOrder};
pub use client::{Client, Greeting, Inference};
pub use error::{Cause, Error, ModelPart};
pub use firmware::{FIRMWARE_DIRECTORY_VARIABLE, FirmwareError, find as find_firmware};
pub use flash::{Fit, check_fit};
pub use inputs::Inputs;
pub use line::Settings;
pub use lowbit_runtime::protocol::{InfoReply, ModelInfo, TickUnit};
pub use records::{RecordPlace, StoredRecord};
pub(crate) use registry::NATIVE;
pub use registry::{
    BoardSpec, Limits, Memory, Process, Qemu, Region, Registry, RegistryError, Serial,
};
pub use verify::{
    Answers, Comparison, Difference, Durations, Options, Progress, Verdict, check_model, resume,
    verify,
};

use std::path::PathBuf;

/// Where emulated boards keep their flash if nobody says otherwise; `None` if the user has no home
/// directory.
#[must_use]
pub fn default_state_directory() -> Option<PathBuf> {
    directories::ProjectDirs::from("", "", "lowbit")
        .map(|directories| directories.data_dir().join("boards"))
}
