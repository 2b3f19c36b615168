//! What only emulated boards have: flash and a sensor in files, and messages through semihosting.

mod flash;
mod sensor;

use core::convert::Infallible;
use core::ffi::CStr;

use embedded_io::{Read, Write};
use lowbit_runtime::protocol::TickUnit;
use lowbit_runtime::service::Sensor;

use crate::arch::Instructions;
use crate::firmware::{self, Clock, Identity, Workspace};
use crate::linker::Memory;
use sensor::RecordedSensor;

pub use flash::{EmulatedFlash, Error};

/// For an [`Identity`]: an emulator leaves in its input what the port has not read. A few images, and
/// less than a pipe holds.
pub const AHEAD_BYTES: u32 = 32 << 10;

impl Clock for Instructions {
    const UNIT: TickUnit = TickUnit::Instructions;

    fn begin(&mut self) {
        Instructions::begin(self);
    }

    fn count(&mut self) -> u64 {
        Instructions::count(self)
    }

    /// QEMU runs an instruction in a nanosecond of its own time.
    fn per_second(&self) -> u64 {
        1_000_000_000
    }
}

/// Answers requests for ever. `flash` is the file that keeps the flash, in the emulator's working
/// directory.
///
/// # Panics
/// When called twice, or the file of the flash cannot be read.
pub fn serve<L, const FRAME: usize, const RESULTS: usize>(
    identity: Identity,
    flash: &CStr,
    link: L,
    instructions: Instructions,
    workspace: &'static mut Workspace<FRAME, RESULTS>,
) -> !
where
    L: Read<Error = Infallible> + Write,
{
    let Memory { models, arena } = Memory::take().expect("is called once");
    let flash = EmulatedFlash::open(models, flash).expect("readable flash file");
    let mut sensor = RecordedSensor::open();
    let sensor = sensor.as_mut().map(|sensor| sensor as &mut dyn Sensor);
    firmware::serve_with(
        identity,
        link,
        flash,
        instructions,
        sensor,
        arena,
        workspace,
    )
}
