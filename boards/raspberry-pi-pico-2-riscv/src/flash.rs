//! The flash chip, written by the functions of the chip's boot ROM.

use core::mem;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use rp235x_hal::rom_data;

/// Where the flash is in memory.
pub(crate) const BASE: usize = 0x1000_0000;
const FLASH_BYTES: usize = 4 << 20;
const SECTOR_BYTES: usize = 4096;
/// Bytes that are written at once, at a multiple of their number.
const PAGE_BYTES: usize = 256;
/// What erases [`BLOCK_BYTES`], where there are as many to erase.
const ERASE_BLOCK: u8 = 0xd8;
const BLOCK_BYTES: u32 = 1 << 16;
/// Where the boot ROM leaves a function that makes the flash readable again as fast as it was.
const RESTORE: *const [u32; 64] = 0x400e_0000 as _;

/// The whole flash.
pub(crate) struct BootFlash(Functions);

/// What the boot ROM has.
struct Functions {
    connect: unsafe extern "C" fn(),
    leave_reading: unsafe extern "C" fn(),
    erase: unsafe extern "C" fn(u32, usize, u32, u8),
    program: unsafe extern "C" fn(u32, *const u8, usize),
    flush_cache: unsafe extern "C" fn(),
    restore: [u32; 64],
}

/// What to do while the flash cannot be read.
enum Change<'a> {
    Erase { bytes: usize },
    Program { page: &'a [u8; PAGE_BYTES] },
}

impl BootFlash {
    /// # Safety
    /// There may be no other driver, interrupts must be off, and the other core must not run.
    pub(crate) unsafe fn new() -> Self {
        Self(Functions {
            connect: rom_data::connect_internal_flash::ptr(),
            leave_reading: rom_data::flash_exit_xip::ptr(),
            erase: rom_data::flash_range_erase::ptr(),
            program: rom_data::flash_range_program::ptr(),
            flush_cache: rom_data::flash_flush_cache::ptr(),
            // SAFETY: the boot ROM has left it there, and nothing writes it.
            restore: unsafe { RESTORE.read_volatile() },
        })
    }
}

impl Functions {
    /// Lies in RAM and calls nothing but the ROM, as the program cannot be read meanwhile.
    ///
    /// # Safety
    /// Interrupts must be off, `offset` that of a page or of a sector, what is changed within the
    /// flash and not part of the program.
    #[unsafe(link_section = ".data.change_flash")]
    #[inline(never)]
    unsafe fn change(&self, offset: u32, change: Change<'_>) {
        // SAFETY: the order that the boot ROM asks for; `restore` is a function that runs anywhere.
        unsafe {
            let restore: unsafe extern "C" fn() = mem::transmute(self.restore.as_ptr());
            (self.connect)();
            (self.leave_reading)();
            match change {
                Change::Erase { bytes } => (self.erase)(offset, bytes, BLOCK_BYTES, ERASE_BLOCK),
                Change::Program { page } => (self.program)(offset, page.as_ptr(), PAGE_BYTES),
            }
            (self.flush_cache)();
            restore();
        }
    }
}

impl ErrorType for BootFlash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for BootFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        // SAFETY: the flash is there, and changes only through `&mut self`.
        let memory = unsafe { core::slice::from_raw_parts(BASE as *const u8, FLASH_BYTES) };
        bytes.copy_from_slice(&memory[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        FLASH_BYTES
    }
}

impl NorFlash for BootFlash {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = SECTOR_BYTES;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        let bytes = (to - from) as usize;
        // SAFETY: sectors of the flash; whoever made the driver vouched for the rest.
        unsafe { self.0.change(from, Change::Erase { bytes }) };
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        let mut offset = offset as usize;
        let mut left = bytes;
        while !left.is_empty() {
            let start = offset % PAGE_BYTES;
            let (part, rest) = left.split_at(left.len().min(PAGE_BYTES - start));
            // In RAM, and ones where nothing is written: they leave bits as they are.
            let mut page = [0xff; PAGE_BYTES];
            page[start..][..part.len()].copy_from_slice(part);
            let change = Change::Program { page: &page };
            // SAFETY: a page of the flash; whoever made the driver vouched for the rest.
            unsafe { self.0.change((offset - start) as u32, change) };
            offset += part.len();
            left = rest;
        }
        Ok(())
    }
}
