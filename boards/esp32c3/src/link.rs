//! The serial port that the chip itself has on USB.

use core::convert::Infallible;

use embedded_io::{ErrorType, Read, Write};
use esp_hal::Blocking;
use esp_hal::peripherals::USB_DEVICE;
use esp_hal::usb::usb_serial_jtag::{UsbSerialJtag, UsbSerialJtagRx, UsbSerialJtagTx};

/// The host's computer keeps what the chip's buffer has no room for: an image of 32 x 32 x 3 and its
/// request, less than what its system keeps before a program has to wait.
pub(crate) const AHEAD_BYTES: u32 = 4 << 10;

/// The port. The host's computer waits while its buffer is full, so that no byte is lost.
pub(crate) struct Usb {
    receive: UsbSerialJtagRx<'static, Blocking>,
    send: UsbSerialJtagTx<'static, Blocking>,
}

impl Usb {
    pub(crate) fn new(device: USB_DEVICE<'static>) -> Self {
        let (receive, send) = UsbSerialJtag::new(device).split();
        Self { receive, send }
    }
}

impl ErrorType for Usb {
    type Error = Infallible;
}

impl Read for Usb {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let count = self.receive.drain_rx_fifo(buffer);
            if count > 0 {
                return Ok(count);
            }
        }
    }
}

impl Write for Usb {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        // It has no way to fail; what is lost with the cable is asked for again.
        let _ = self.send.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        let _ = self.send.flush_tx();
        Ok(())
    }
}
