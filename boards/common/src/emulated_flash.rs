//! Flash of an emulated board: a part of its memory, mirrored in a file of the host.

use core::ffi::CStr;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_write,
};
use lowbit_runtime::service::ModelFlash;
use semihosting::fs::File;
use semihosting::io::{Read, Seek, SeekFrom, Write};

const ERASED: u8 = 0xff;

/// Why an access failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The place does not suit the device.
    Place(NorFlashErrorKind),
    /// The bytes to write have not been erased.
    NotErased,
    /// The file cannot be read or written.
    File,
}

impl NorFlashError for Error {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Place(kind) => *kind,
            Self::NotErased | Self::File => NorFlashErrorKind::Other,
        }
    }
}

impl From<NorFlashErrorKind> for Error {
    fn from(kind: NorFlashErrorKind) -> Self {
        Self::Place(kind)
    }
}

/// NOR flash in memory. Every change is written to the file at once, so that the emulator may be
/// killed at any moment, like a board that loses its power.
#[derive(Debug)]
pub struct EmulatedFlash {
    memory: &'static mut [u8],
    file: Option<File>,
}

impl EmulatedFlash {
    /// Fills `memory` from the file at `path` in the emulator's working directory; what the file
    /// lacks is erased, and added to it. Without such a file the flash forgets its content.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(memory: &'static mut [u8], path: &CStr) -> Result<Self, Error> {
        memory.fill(ERASED);
        let file = File::options().read(true).write(true).open(path);
        let mut flash = Self {
            memory,
            file: file.ok(),
        };
        if let Some(file) = &mut flash.file {
            let read = read_all(file, flash.memory)?;
            let missing = flash.memory.len() - read;
            flash.mirror(read as u32, missing)?;
        }
        Ok(flash)
    }

    fn mirror(&mut self, offset: u32, length: usize) -> Result<(), Error> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let content = &self.memory[offset as usize..][..length];
        file.seek(SeekFrom::Start(offset.into()))
            .and_then(|_| file.write_all(content))
            .map_err(|_| Error::File)
    }
}

/// Reads until the file or the memory ends; returns the number of bytes.
fn read_all(file: &mut File, memory: &mut [u8]) -> Result<usize, Error> {
    let mut read = 0;
    while read < memory.len() {
        let count = file.read(&mut memory[read..]).map_err(|_| Error::File)?;
        if count == 0 {
            break;
        }
        read += count;
    }
    Ok(read)
}

impl ErrorType for EmulatedFlash {
    type Error = Error;
}

impl ReadNorFlash for EmulatedFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        let content = self.memory.get(offset as usize..);
        let content = content.and_then(|content| content.get(..bytes.len()));
        bytes.copy_from_slice(content.ok_or(NorFlashErrorKind::OutOfBounds)?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.memory.len()
    }
}

impl NorFlash for EmulatedFlash {
    const WRITE_SIZE: usize = 8;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Error> {
        check_erase(self, from, to)?;
        self.memory[from as usize..to as usize].fill(ERASED);
        self.mirror(from, (to - from) as usize)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        check_write(self, offset, bytes.len())?;
        let place = &mut self.memory[offset as usize..][..bytes.len()];
        if place.iter().any(|&byte| byte != ERASED) {
            return Err(Error::NotErased);
        }
        place.copy_from_slice(bytes);
        self.mirror(offset, bytes.len())
    }
}

impl ModelFlash for EmulatedFlash {
    fn memory(&self) -> &[u8] {
        self.memory
    }
}
