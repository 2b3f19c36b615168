//! The serial port on the pins GP0 and GP1.
//!
//! Not the HAL's driver, whose way of receiving waits for as many bytes as there is room for.

use embassy_rp::interrupt;
use embassy_rp::pac;
use embassy_rp::pac::uart::regs::{Uartfbrd, Uartibrd};
use lowbit_board_common::serial::{Buffered, Inbox, Pl011};

const BAUD: u32 = 921_600;
/// The pins to send and to receive on, and the function that is the UART.
const PINS: [usize; 2] = [0, 1];
const PIN_FUNCTION: u8 = 2;

/// An image of CIFAR's and what is around it, sent while the core computes the one before.
type Received = Inbox<Pl011, 4096>;
/// Bytes of requests that wait there.
pub(crate) const AHEAD_BYTES: u32 = Received::KEPT_BYTES;
static INBOX: Received = Inbox::new();

/// Opens the first UART, which `clock` (Hz) drives.
pub(crate) fn open(clock: u32) -> Buffered<Pl011> {
    // The HAL leaves it as the boot code does.
    pac::RESETS.reset().modify(|reset| reset.set_uart0(false));
    while !pac::RESETS.reset_done().read().uart0() {}
    for pin in PINS {
        let function = pac::IO_BANK0.gpio(pin).ctrl();
        function.write(|function| function.set_funcsel(PIN_FUNCTION));
        pac::PADS_BANK0.gpio(pin).write(|pad| {
            pad.set_iso(false);
            pad.set_ie(true);
            // An open line is an idle one.
            pad.set_pue(true);
        });
    }
    // In 64ths of 16 periods per bit.
    let divider = (4 * clock + BAUD / 2) / BAUD;
    pac::UART0.uartibrd().write_value(Uartibrd(divider >> 6));
    pac::UART0.uartfbrd().write_value(Uartfbrd(divider & 0x3f));
    let base = pac::UART0.as_ptr().addr();
    // SAFETY: the chip has that UART there, and nothing else uses it.
    let port = unsafe { Pl011::new(base) };
    INBOX.open(port, pac::Interrupt::UART0_IRQ as u16)
}

#[interrupt]
fn UART0_IRQ() {
    INBOX.collect();
}
