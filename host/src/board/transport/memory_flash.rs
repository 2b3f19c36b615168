//! Flash of a board that runs in this process.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use lowbit_runtime::service::ModelFlash;

const ERASED: u8 = 0xff;

/// NOR flash in memory that refuses to write what is not erased.
#[derive(Debug)]
pub(super) struct MemoryFlash {
    /// Words, because models start at multiples of 8.
    words: Vec<u64>,
}

impl MemoryFlash {
    /// Erased flash of at least `bytes` bytes.
    pub(super) fn new(bytes: usize) -> Self {
        let words = bytes.next_multiple_of(Self::ERASE_SIZE) / size_of::<u64>();
        Self {
            words: vec![u64::MAX; words],
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.words)
    }
}

impl ErrorType for MemoryFlash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for MemoryFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        bytes.copy_from_slice(&self.memory()[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.memory().len()
    }
}

impl NorFlash for MemoryFlash {
    const WRITE_SIZE: usize = 8;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        self.bytes_mut()[from as usize..to as usize].fill(ERASED);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        let place = &mut self.bytes_mut()[offset as usize..][..bytes.len()];
        if place.iter().any(|&byte| byte != ERASED) {
            return Err(NorFlashErrorKind::Other);
        }
        place.copy_from_slice(bytes);
        Ok(())
    }
}

impl ModelFlash for MemoryFlash {
    fn memory(&self) -> &[u8] {
        bytemuck::cast_slice(&self.words)
    }
}
