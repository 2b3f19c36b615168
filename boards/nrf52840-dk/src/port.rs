//! The serial port that leads to the USB plug of the board's debugger.
//!
//! The chip's UART without DMA: it interrupts at every byte, and keeps six of them.

use embassy_nrf::Peri;
use embassy_nrf::gpio::{Input, Level, Output, OutputDrive, Pull};
use embassy_nrf::interrupt;
use embassy_nrf::pac;
use embassy_nrf::pac::shared::regs::Psel;
use embassy_nrf::pac::uart::vals::Baudrate;
use embassy_nrf::peripherals::{P0_06, P0_08};
use lowbit_board_common::serial::{Buffered, Inbox, Nrf51};

/// The pins of port 0 to send and to receive on.
const SEND: u32 = 6;
const RECEIVE: u32 = 8;

/// An image of CIFAR's and what is around it, sent while the core computes the one before.
type Received = Inbox<Nrf51, 4096>;
/// Bytes of requests that wait there.
pub(crate) const AHEAD_BYTES: u32 = Received::KEPT_BYTES;
static INBOX: Received = Inbox::new();

/// Opens the UART on those pins.
pub(crate) fn open(send: Peri<'static, P0_06>, receive: Peri<'static, P0_08>) -> Buffered<Nrf51> {
    Output::new(send, Level::High, OutputDrive::Standard).persist();
    Input::new(receive, Pull::Up).persist();
    let pins = pac::UART0.psel();
    pins.txd().write_value(Psel(SEND));
    pins.rxd().write_value(Psel(RECEIVE));
    pac::UART0
        .baudrate()
        .write(|speed| speed.set_baudrate(Baudrate::Baud115200));
    let base = pac::UART0.as_ptr().addr();
    // SAFETY: the chip has its UART there, and nothing else uses it.
    let port = unsafe { Nrf51::new(base) };
    INBOX.open(port, pac::Interrupt::UARTE0 as u16)
}

#[interrupt]
fn UARTE0() {
    INBOX.collect();
}
