//! The serial port that leads to the USB plug of the board's debugger.
//!
//! The chip's UART without DMA: it interrupts at every byte, and keeps six of them.

use embassy_nrf::Peri;
use embassy_nrf::gpio::{Input, Level, Output, OutputDrive, Pull};
use embassy_nrf::pac;
use embassy_nrf::pac::shared::regs::Psel;
use embassy_nrf::pac::uart::vals::Baudrate;
use embassy_nrf::peripherals::{P0_06, P0_08};
use lowbit_board_common::arch::Interrupt;
use lowbit_board_common::serial::{Nrf51, Serial};

/// The pins of port 0 to send and to receive on.
const SEND: u32 = 6;
const RECEIVE: u32 = 8;

/// Opens the UART on those pins.
pub(crate) fn open(send: Peri<'static, P0_06>, receive: Peri<'static, P0_08>) -> Serial<Nrf51> {
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
    Serial::new(port, Interrupt::new(pac::Interrupt::UARTE0 as u16))
}
