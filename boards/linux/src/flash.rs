//! Flash in a file.
#![expect(unsafe_code, reason = "a file mapped into memory")]

use std::fs::TryLockError;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use fs_err::os::unix::fs::OpenOptionsExt as _;
use lowbit_runtime::service::ModelFlash;
use memmap2::Mmap;

const ERASED: u8 = 0xff;

/// Why there is no flash.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The file cannot be made, read or mapped.
    #[error(transparent)]
    File(#[from] io::Error),
    /// Another process has it.
    #[error("the models in `{}` are in use by another process", .0.display())]
    Busy(PathBuf),
}

/// NOR flash in a file, which keeps models when the power fails.
#[derive(Debug)]
pub(crate) struct FileFlash {
    file: std::fs::File,
    memory: Mmap,
    /// Where the last write ended.
    end: u32,
}

impl FileFlash {
    /// The flash of `bytes` bytes in the file at `path`, which is made if it does not exist. A slot
    /// of a new file holds zeros, which are no model, and is erased before it is written.
    ///
    /// # Errors
    /// If that is not possible, or another process uses the file.
    pub(crate) fn open(path: &Path, bytes: u64) -> Result<Self, OpenError> {
        let mut options = fs_err::OpenOptions::new();
        let options = options.create(true).truncate(false).read(true).write(true);
        let (file, _) = options.mode(0o600).open(path)?.into_parts();
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Busy(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.set_len(bytes)?;
        // SAFETY: the file is locked, so that only this value changes it.
        let memory = unsafe { Mmap::map(&file)? };
        Ok(Self {
            file,
            memory,
            end: u32::MAX,
        })
    }

    /// Writes what follows the last write directly, and anything else only after all that was
    /// written before is on the disk: a slot's header never gets there before its model.
    fn put(&mut self, offset: u32, bytes: &[u8]) -> io::Result<()> {
        let follows = offset == self.end;
        if !follows {
            self.file.sync_data()?;
        }
        self.file.write_all_at(bytes, offset.into())?;
        if !follows {
            self.file.sync_data()?;
        }
        self.end = offset.saturating_add(bytes.len() as u32);
        Ok(())
    }
}

impl ErrorType for FileFlash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for FileFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        bytes.copy_from_slice(&self.memory[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.memory.len()
    }
}

impl NorFlash for FileFlash {
    const WRITE_SIZE: usize = 8;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        for block in (from..to).step_by(Self::ERASE_SIZE) {
            let erased = self.put(block, &[ERASED; Self::ERASE_SIZE]);
            erased.map_err(|_| NorFlashErrorKind::Other)?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        let place = &self.memory[offset as usize..][..bytes.len()];
        if place.iter().any(|&byte| byte != ERASED) {
            return Err(NorFlashErrorKind::Other);
        }
        let written = self.put(offset, bytes);
        written.map_err(|_| NorFlashErrorKind::Other)
    }
}

impl ModelFlash for FileFlash {
    fn memory(&self) -> &[u8] {
        &self.memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_nor_flash_are_kept_and_content_survives() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("models");
        let mut flash = FileFlash::open(&path, 8192).expect("opens");
        assert!(matches!(
            FileFlash::open(&path, 8192),
            Err(OpenError::Busy(_))
        ));
        assert_eq!(flash.write(0, &[1; 8]), Err(NorFlashErrorKind::Other));
        flash.erase(0, 8192).expect("erases");
        flash.write(4096, &[1; 8]).expect("writes");
        assert_eq!(flash.write(4096, &[1; 8]), Err(NorFlashErrorKind::Other));
        assert_eq!(flash.write(3, &[1; 8]), Err(NorFlashErrorKind::NotAligned));
        assert_eq!(
            flash.erase(8192, 12288),
            Err(NorFlashErrorKind::OutOfBounds)
        );
        drop(flash);
        let flash = FileFlash::open(&path, 8192).expect("opens");
        let memory = flash.memory();
        assert_eq!(
            (memory[4095], memory[4096], memory[4104]),
            (ERASED, 1, ERASED)
        );
    }
}
