//! The serial port that leads to the USB plug of the board's debugger.

use embassy_stm32::interrupt;
use embassy_stm32::pac;
use embassy_stm32::pac::gpio::vals::{Moder, Ospeedr};
use lowbit_board_common::serial::{Buffered, Inbox, Stm32F4};

const BAUD: u32 = 921_600;
/// Port A's pins to send and to receive on, and the function that is the USART.
const PINS: [usize; 2] = [2, 3];
const PIN_FUNCTION: u8 = 7;

/// An image of CIFAR's and what is around it, sent while the core computes the one before.
type Received = Inbox<Stm32F4, 4096>;
/// Bytes of requests that wait there.
pub(crate) const AHEAD_BYTES: u32 = Received::KEPT_BYTES;
static INBOX: Received = Inbox::new();

/// Opens USART2, which `clock` (Hz) drives.
pub(crate) fn open(clock: u32) -> Buffered<Stm32F4> {
    pac::RCC.ahb1enr().modify(|enable| enable.set_gpioaen(true));
    pac::RCC
        .apb1enr()
        .modify(|enable| enable.set_usart2en(true));
    // A peripheral may only be used two cycles after its clock is on: reading takes them.
    pac::RCC.apb1enr().read();
    for pin in PINS {
        let functions = pac::GPIOA.afr(pin / 8);
        functions.modify(|functions| functions.set_afr(pin % 8, PIN_FUNCTION));
        pac::GPIOA
            .ospeedr()
            .modify(|speeds| speeds.set_ospeedr(pin, Ospeedr::HIGH_SPEED));
        pac::GPIOA
            .moder()
            .modify(|modes| modes.set_moder(pin, Moder::ALTERNATE));
    }
    let base = pac::USART2.as_ptr().addr();
    // SAFETY: the chip has its second USART there, and nothing else uses it.
    let port = unsafe { Stm32F4::new(base, (clock + BAUD / 2) / BAUD) };
    INBOX.open(port, pac::Interrupt::USART2 as u16)
}

#[interrupt]
fn USART2() {
    INBOX.collect();
}
