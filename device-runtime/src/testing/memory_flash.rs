//! Flash that keeps the rules of a real one and loses power on request.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

use crate::service::ModelFlash;

/// What the flash refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power has failed.
    PowerCut,
    /// Bytes were written twice without being erased.
    NotErased,
    /// Outside the flash, or across the bounds of what it erases or writes at once.
    Bounds,
}

impl NorFlashError for Fault {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Bounds => NorFlashErrorKind::OutOfBounds,
            _ => NorFlashErrorKind::Other,
        }
    }
}

/// Flash of [`MemoryFlash::BYTES`] bytes: 16 blocks, words of 8 bytes.
#[repr(align(8))]
#[derive(Debug, Clone)]
pub struct MemoryFlash {
    bytes: [u8; Self::BYTES],
    /// Bytes that can be changed before the power fails.
    pub power: usize,
}

impl MemoryFlash {
    /// Bytes in all.
    pub const BYTES: usize = 4096;

    /// Erased, with power for good.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "there is nothing usual about it"
    )]
    pub fn new() -> Self {
        Self {
            bytes: [0xff; Self::BYTES],
            power: usize::MAX,
        }
    }

    fn change(&mut self, at: usize, value: u8) -> Result<(), Fault> {
        self.power = self.power.checked_sub(1).ok_or(Fault::PowerCut)?;
        self.bytes[at] = value;
        Ok(())
    }

    fn check(&self, from: usize, to: usize, unit: usize) -> Result<(), Fault> {
        let inside = from <= to && to <= Self::BYTES;
        let aligned = from.is_multiple_of(unit) && to.is_multiple_of(unit);
        if inside && aligned {
            Ok(())
        } else {
            Err(Fault::Bounds)
        }
    }
}

impl ErrorType for MemoryFlash {
    type Error = Fault;
}

impl ReadNorFlash for MemoryFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        let from = offset as usize;
        self.check(from, from + bytes.len(), 1)?;
        bytes.copy_from_slice(&self.bytes[from..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        Self::BYTES
    }
}

impl NorFlash for MemoryFlash {
    const WRITE_SIZE: usize = 8;
    const ERASE_SIZE: usize = 256;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Fault> {
        let (from, to) = (from as usize, to as usize);
        self.check(from, to, Self::ERASE_SIZE)?;
        (from..to).try_for_each(|at| self.change(at, 0xff))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        let from = offset as usize;
        self.check(from, from + bytes.len(), Self::WRITE_SIZE)?;
        if self.bytes[from..][..bytes.len()]
            .iter()
            .any(|&byte| byte != 0xff)
        {
            return Err(Fault::NotErased);
        }
        (from..)
            .zip(bytes)
            .try_for_each(|(at, &value)| self.change(at, value))
    }
}

impl ModelFlash for MemoryFlash {
    fn memory(&self) -> &[u8] {
        &self.bytes
    }
}
