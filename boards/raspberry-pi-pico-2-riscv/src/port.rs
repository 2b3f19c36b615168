//! The serial port on the pins GP0 and GP1.

use core::convert::Infallible;

use embedded_io::{ErrorType, Read, Write};
use rp235x_hal::fugit::HertzU32;
use rp235x_hal::gpio::bank0::{Gpio0, Gpio1};
use rp235x_hal::gpio::{FunctionUart, Pin, PullNone, PullUp};
use rp235x_hal::pac::{RESETS, UART0};
use rp235x_hal::uart::{DataBits, Reader, StopBits, UartConfig, UartPeripheral, Writer};

const BAUD: HertzU32 = HertzU32::from_raw(921_600);

/// The pins to send and to receive on. An open line is an idle one.
pub(crate) type Pins = (
    Pin<Gpio0, FunctionUart, PullNone>,
    Pin<Gpio1, FunctionUart, PullUp>,
);

/// The first UART.
pub(crate) struct Port {
    receive: Reader<UART0, Pins>,
    send: Writer<UART0, Pins>,
}

impl Port {
    /// Opens it; `clock` is what drives it.
    pub(crate) fn open(port: UART0, pins: Pins, resets: &mut RESETS, clock: HertzU32) -> Self {
        let config = UartConfig::new(BAUD, DataBits::Eight, None, StopBits::One);
        let enabled = UartPeripheral::new(port, pins, resets).enable(config, clock);
        let (receive, send) = enabled
            .unwrap_or_else(|_| panic!("the clock is fast enough"))
            .split();
        Self { receive, send }
    }
}

impl ErrorType for Port {
    type Error = Infallible;
}

impl Read for Port {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        if buffer.is_empty() {
            return Ok(0);
        }
        // Bytes that are lost or damaged are missed in the frame that they belong to.
        loop {
            if let Ok(count) = self.receive.read(buffer) {
                return Ok(count);
            }
        }
    }
}

impl Write for Port {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.send.write_full_blocking(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        // Its error type has no value.
        let _ = self.send.flush();
        Ok(())
    }
}
