//! The part of a chip's flash that models live in.
#![expect(
    unsafe_code,
    reason = "flash is memory that only the linker script describes"
)]

use core::slice;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read,
    check_write,
};
use lowbit_runtime::service::ModelFlash;

/// A part of the flash behind a driver, which is also readable as memory.
#[derive(Debug)]
pub struct MappedFlash<F> {
    driver: F,
    /// Where the driver has the part.
    offset: u32,
    memory: *const u8,
    bytes: usize,
}

impl<F: NorFlash> MappedFlash<F> {
    /// The part at `models`, of a flash whose first byte is at the address `base`.
    ///
    /// # Safety
    /// The flash behind `driver` must be readable from `base` on, `models` be a part of it, and
    /// `driver` the only one that changes it.
    #[must_use]
    pub unsafe fn new(driver: F, models: &'static mut [u8], base: usize) -> Self {
        let memory: *const u8 = models.as_ptr();
        Self {
            driver,
            offset: (memory.addr() - base) as u32,
            memory,
            bytes: models.len(),
        }
    }
}

impl<F> ErrorType for MappedFlash<F> {
    type Error = NorFlashErrorKind;
}

impl<F: NorFlash> ReadNorFlash for MappedFlash<F> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        bytes.copy_from_slice(&self.memory()[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes
    }
}

impl<F: NorFlash> NorFlash for MappedFlash<F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        let erased = self.driver.erase(self.offset + from, self.offset + to);
        erased.map_err(|error| error.kind())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        let written = self.driver.write(self.offset + offset, bytes);
        written.map_err(|error| error.kind())
    }
}

impl<F: NorFlash> ModelFlash for MappedFlash<F> {
    fn memory(&self) -> &[u8] {
        // SAFETY: whoever made the value vouched for the memory, which changes only through
        // `&mut self`.
        unsafe { slice::from_raw_parts(self.memory, self.bytes) }
    }
}
