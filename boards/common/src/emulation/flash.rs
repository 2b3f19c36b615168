//! Flash of an emulated board: a part of its memory, mirrored in a file of the host.

use core::ffi::CStr;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_write,
};
use lowbit_runtime::service::ModelFlash;
use semihosting::fs::File;
use semihosting::io::{Read, Seek, SeekFrom, Write};

const ERASED: u8 = 0xff;
const BLOCK_BYTES: usize = 1024;
/// Constant, as a small board has no room for it in its memory.
static ERASED_BLOCK: [u8; BLOCK_BYTES] = [ERASED; BLOCK_BYTES];

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

/// NOR flash in memory, mirrored in a file.
///
/// Every change is written to the file first and read from there into the memory. That way the
/// emulator may be killed at any moment, like a board that loses its power, and the memory may be
/// one that only the emulator can write, like the ROM of a microcontroller.
#[derive(Debug)]
pub struct EmulatedFlash {
    memory: &'static mut [u8],
    file: File,
}

impl EmulatedFlash {
    /// Fills `memory` from the file at `path` in the emulator's working directory; what the file
    /// lacks is erased. Without such a file there will be one.
    ///
    /// # Errors
    /// If the file cannot be made, read or written.
    pub fn open(memory: &'static mut [u8], path: &CStr) -> Result<Self, Error> {
        let mut options = File::options();
        let file = options.read(true).write(true).open(path);
        let file = file.or_else(|_| File::create(path).and_then(|_| options.open(path)));
        let mut flash = Self {
            memory,
            file: file.map_err(|_| Error::File)?,
        };
        let read = read_all(&mut flash.file, flash.memory)?;
        flash.clear(read, flash.memory.len())?;
        Ok(flash)
    }

    /// Puts `bytes` at `offset`.
    fn put(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        let place = SeekFrom::Start(offset as u64);
        let memory = &mut self.memory[offset..][..bytes.len()];
        let file = &mut self.file;
        let copied = file
            .seek(place)
            .and_then(|_| file.write_all(bytes))
            .and_then(|()| file.seek(place));
        copied.map_err(|_| Error::File)?;
        match read_all(file, memory)? == bytes.len() {
            true => Ok(()),
            false => Err(Error::File),
        }
    }

    fn clear(&mut self, from: usize, to: usize) -> Result<(), Error> {
        for start in (from..to).step_by(BLOCK_BYTES) {
            self.put(start, &ERASED_BLOCK[..BLOCK_BYTES.min(to - start)])?;
        }
        Ok(())
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
    const ERASE_SIZE: usize = BLOCK_BYTES;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Error> {
        check_erase(self, from, to)?;
        self.clear(from as usize, to as usize)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        check_write(self, offset, bytes.len())?;
        let place = &self.memory[offset as usize..][..bytes.len()];
        if place.iter().any(|&byte| byte != ERASED) {
            return Err(Error::NotErased);
        }
        self.put(offset as usize, bytes)
    }
}

impl ModelFlash for EmulatedFlash {
    fn memory(&self) -> &[u8] {
        self.memory
    }
}
