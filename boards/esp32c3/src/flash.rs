//! The flash chip: written by the HAL's driver, read as memory through the cache.

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use esp_storage::{FlashStorage, FlashStorageError};

/// Where byte 0 of the flash would be in memory if all of it were mapped as the models are.
pub(crate) const BASE: usize = 0x3c00_0000;
/// Bytes of a page of the memory management unit, in KiB and as a number.
const PAGE_KIB: u32 = 64;
const PAGE_BYTES: u32 = PAGE_KIB << 10;
/// Pages of the flash, not of another memory.
const OF_FLASH: u32 = 0;
/// Pages that follow each other in memory do so in the flash.
const IN_SEQUENCE: u32 = 0;

unsafe extern "C" {
    // Of the chip's ROM.
    fn Cache_Suspend_ICache() -> u32;
    fn Cache_Resume_ICache(autoload: u32);
    fn Cache_Invalidate_Addr(address: u32, bytes: u32);
    fn cache_dbus_mmu_set(
        kind: u32,
        memory: u32,
        flash: u32,
        page_kib: u32,
        pages: u32,
        fixed: u32,
    ) -> i32;
}

/// The HAL's driver, with what the cache needs: it keeps what it has of bytes that are written.
pub(crate) struct CachedFlash(FlashStorage<'static>);

impl CachedFlash {
    /// Makes the part of the flash that belongs there readable at `models`.
    ///
    /// # Safety
    /// Nothing else may be at those addresses, and there may be no other driver.
    pub(crate) unsafe fn map(driver: FlashStorage<'static>, models: &[u8]) -> Self {
        let address = models.as_ptr().addr();
        let pages = models.len() as u32 / PAGE_BYTES;
        // SAFETY: the bootloader has mapped the program, which is smaller, to lower addresses.
        let failed = unsafe { map_pages(address as u32, (address - BASE) as u32, pages) };
        assert_eq!(failed, 0, "the flash cannot be mapped");
        Self(driver)
    }
}

/// Runs from RAM, as the program's own flash cannot be read meanwhile.
///
/// # Safety
/// Nothing may use the memory at those addresses.
#[esp_hal::ram]
unsafe fn map_pages(memory: u32, flash: u32, pages: u32) -> i32 {
    // SAFETY: functions of the ROM; the cache is on again before anything else runs, as interrupts
    // have not been turned on yet.
    unsafe {
        let autoload = Cache_Suspend_ICache();
        let failed = cache_dbus_mmu_set(OF_FLASH, memory, flash, PAGE_KIB, pages, IN_SEQUENCE);
        Cache_Resume_ICache(autoload);
        failed
    }
}

/// Forgets what the cache has of those bytes of the flash.
fn invalidate(offset: u32, bytes: u32) {
    // SAFETY: a function of the ROM; they are mapped to those addresses.
    unsafe { Cache_Invalidate_Addr(BASE as u32 + offset, bytes) };
}

impl ErrorType for CachedFlash {
    type Error = FlashStorageError;
}

impl ReadNorFlash for CachedFlash {
    const READ_SIZE: usize = <FlashStorage<'_> as ReadNorFlash>::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashStorageError> {
        ReadNorFlash::read(&mut self.0, offset, bytes)
    }

    fn capacity(&self) -> usize {
        ReadNorFlash::capacity(&self.0)
    }
}

impl NorFlash for CachedFlash {
    const WRITE_SIZE: usize = <FlashStorage<'_> as NorFlash>::WRITE_SIZE;
    const ERASE_SIZE: usize = <FlashStorage<'_> as NorFlash>::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashStorageError> {
        let erased = NorFlash::erase(&mut self.0, from, to);
        invalidate(from, to - from);
        erased
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashStorageError> {
        let written = NorFlash::write(&mut self.0, offset, bytes);
        invalidate(offset, bytes.len() as u32);
        written
    }
}
