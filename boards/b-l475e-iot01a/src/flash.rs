//! The STM32L475's flash.

use embassy_stm32::flash::{Blocking, Error, Flash};
use embassy_stm32::pac;
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};

/// Where the flash is in memory.
pub(crate) const BASE: usize = 0x0800_0000;

/// The HAL's driver, with what the data cache needs.
///
/// The cache may be corrupted by reading while the other bank is written (an erratum of this
/// family), and keeps what it has of erased pages: it is off meanwhile, and empty afterwards.
pub(crate) struct CacheSafeFlash(pub(crate) Flash<'static, Blocking>);

impl CacheSafeFlash {
    fn without_cache<T>(&mut self, change: impl FnOnce(&mut Flash<'static, Blocking>) -> T) -> T {
        let control = pac::FLASH.acr();
        control.modify(|control| control.set_dcen(false));
        let result = change(&mut self.0);
        control.modify(|control| control.set_dcrst(true));
        control.modify(|control| control.set_dcrst(false));
        control.modify(|control| control.set_dcen(true));
        result
    }
}

impl ErrorType for CacheSafeFlash {
    type Error = Error;
}

impl ReadNorFlash for CacheSafeFlash {
    const READ_SIZE: usize = <Flash<'_, Blocking> as ReadNorFlash>::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        ReadNorFlash::read(&mut self.0, offset, bytes)
    }

    fn capacity(&self) -> usize {
        ReadNorFlash::capacity(&self.0)
    }
}

impl NorFlash for CacheSafeFlash {
    const WRITE_SIZE: usize = <Flash<'_, Blocking> as NorFlash>::WRITE_SIZE;
    const ERASE_SIZE: usize = <Flash<'_, Blocking> as NorFlash>::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Error> {
        self.without_cache(|flash| NorFlash::erase(flash, from, to))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.without_cache(|flash| NorFlash::write(flash, offset, bytes))
    }
}

/// Forgets that a word of flash was damaged.
///
/// A write that was cut off by a power failure leaves a word whose error correction does not add
/// up, and reading it calls the handler of non-maskable interrupts. What was read is then checked
/// by the model's checksums, like every other byte.
pub(crate) fn forget_damage() {
    pac::FLASH.eccr().modify(|status| status.set_eccd(true));
}
