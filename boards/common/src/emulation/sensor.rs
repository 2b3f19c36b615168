//! The sensor of an emulated board: a stream recorded in a file of the host.

use core::ffi::CStr;

use lowbit_runtime::protocol::{SensorFault, SensorInput};
use lowbit_runtime::service::{Position, Sensor};
use semihosting::fs::File;
use semihosting::io::{Read, Seek, SeekFrom};

/// In the emulator's working directory: input after input, as the model reads them.
const FILE: &CStr = c"sensor.raw";

#[derive(Debug)]
pub(super) struct RecordedSensor {
    file: File,
    position: Position,
}

impl RecordedSensor {
    /// `None` if nothing has been recorded.
    pub(super) fn open() -> Option<Self> {
        Some(Self {
            file: File::options().read(true).open(FILE).ok()?,
            position: Position::default(),
        })
    }
}

impl Sensor for RecordedSensor {
    fn sense(
        &mut self,
        input: SensorInput,
        _: [u16; 3],
        pixels: &mut [u8],
    ) -> Result<Option<u32>, SensorFault> {
        let bytes = pixels.len() as u32;
        let size = SensorFault::Size { expected: bytes };
        let recorded = self.file.metadata().map_err(|_| SensorFault::Device)?;
        let recorded = recorded.len() as u32;
        if recorded.checked_rem(bytes) != Some(0) {
            return Err(size);
        }
        let (index, left) = self.position.advance(input, recorded / bytes)?;
        let place = SeekFrom::Start(u64::from(index) * u64::from(bytes));
        let read = self
            .file
            .seek(place)
            .and_then(|_| self.file.read_exact(pixels));
        read.map_err(|_| SensorFault::Device)?;
        Ok(Some(left))
    }
}
