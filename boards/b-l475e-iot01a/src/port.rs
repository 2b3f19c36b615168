//! The serial port that leads to the USB plug of the board's debugger.
//!
//! Not the HAL's driver: that one cannot be used where the HAL cannot be initialised, under QEMU,
//! and so would be the one part that no test sees.

use embassy_stm32::interrupt;
use embassy_stm32::pac;
use embassy_stm32::pac::gpio::vals::{Moder, Ospeedr};
use lowbit_board_common::serial::{Buffered, Inbox, Stm32};

const BAUD: u32 = 921_600;
/// Port B's pins to send and to receive on, and the function that is the USART.
const PINS: [usize; 2] = [6, 7];
const PIN_FUNCTION: u8 = 7;

/// An image of CIFAR's and what is around it, sent while the core computes the one before.
type Received = Inbox<Stm32, 4096>;
/// Bytes of requests that wait there.
pub(crate) const AHEAD_BYTES: u32 = Received::KEPT_BYTES;
static INBOX: Received = Inbox::new();

/// Opens USART1, which `clock` (Hz) drives.
pub(crate) fn open(clock: u32) -> Buffered<Stm32> {
    pac::RCC.ahb2enr().modify(|enable| enable.set_gpioben(true));
    pac::RCC
        .apb2enr()
        .modify(|enable| enable.set_usart1en(true));
    // A peripheral may only be used two cycles after its clock is on: reading takes them.
    pac::RCC.apb2enr().read();
    for pin in PINS {
        let functions = pac::GPIOB.afr(pin / 8);
        functions.modify(|functions| functions.set_afr(pin % 8, PIN_FUNCTION));
        pac::GPIOB
            .ospeedr()
            .modify(|speeds| speeds.set_ospeedr(pin, Ospeedr::HIGH_SPEED));
        pac::GPIOB
            .moder()
            .modify(|modes| modes.set_moder(pin, Moder::ALTERNATE));
    }
    let base = pac::USART1.as_ptr().addr();
    // SAFETY: the chip has its first USART there, and nothing else uses it.
    let port = unsafe { Stm32::new(base, (clock + BAUD / 2) / BAUD) };
    INBOX.open(port, pac::Interrupt::USART1 as u16)
}

#[interrupt]
fn USART1() {
    INBOX.collect();
}
