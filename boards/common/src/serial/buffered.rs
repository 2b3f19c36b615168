//! A serial port that keeps what comes while the core computes.

use core::cell::RefCell;
use core::convert::Infallible;

use cortex_m::asm;
use cortex_m::interrupt::{self, Mutex};
use heapless::spsc::{Consumer, Producer, Queue};
use static_cell::ConstStaticCell;

use super::{Port, fill, send_all};
use crate::arch;

/// What a port's interrupt puts bytes into. `BYTES` is one more than it keeps; of what comes when it
/// is full, nothing is kept.
pub struct Inbox<P, const BYTES: usize> {
    queue: ConstStaticCell<Queue<u8, BYTES>>,
    filler: Mutex<RefCell<Option<Filler<P>>>>,
}

struct Filler<P> {
    port: P,
    queue: Producer<'static, u8>,
}

/// A port that is read from an [`Inbox`].
pub struct Buffered<P> {
    port: P,
    queue: Consumer<'static, u8>,
}

impl<P: Port + Copy, const BYTES: usize> Inbox<P, BYTES> {
    /// Bytes that it keeps.
    pub const KEPT_BYTES: u32 = BYTES as u32 - 1;

    /// An empty one, for a static.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            queue: ConstStaticCell::new(Queue::new()),
            filler: Mutex::new(RefCell::new(None)),
        }
    }

    /// Fills it from now on with what `port` receives: the interrupt of that number must call
    /// [`collect`](Self::collect).
    ///
    /// # Panics
    /// The second time.
    pub fn open(&'static self, port: P, interrupt: u16) -> Buffered<P> {
        let (producer, consumer) = self.queue.take().split();
        let filler = Filler {
            port,
            queue: producer,
        };
        interrupt::free(|token| self.filler.borrow(token).replace(Some(filler)));
        arch::Interrupt::run_handler(interrupt);
        Buffered {
            port,
            queue: consumer,
        }
    }

    /// Takes over what the port has received.
    pub fn collect(&self) {
        interrupt::free(|token| {
            if let Some(Filler { port, queue }) = &mut *self.filler.borrow(token).borrow_mut() {
                port.acknowledge();
                while let Some(byte) = port.receive() {
                    // What is lost is missed in the frame that it belongs to.
                    let _ = queue.enqueue(byte);
                }
            }
        });
    }
}

impl<P: Port + Copy, const BYTES: usize> Default for Inbox<P, BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P> Buffered<P> {
    fn wait(&mut self) -> u8 {
        loop {
            if let Some(byte) = self.queue.dequeue() {
                return byte;
            }
            // With interrupts held back, so that none is handled between the check and the sleep,
            // which a pending one ends all the same.
            interrupt::free(|_| {
                if !self.queue.ready() {
                    asm::wfi();
                }
            });
        }
    }
}

impl<P> embedded_io::ErrorType for Buffered<P> {
    type Error = Infallible;
}

impl<P> embedded_io::Read for Buffered<P> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let first = self.wait();
        Ok(fill(buffer, first, || self.queue.dequeue()))
    }
}

impl<P: Port> embedded_io::Write for Buffered<P> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        Ok(send_all(&mut self.port, bytes))
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        self.port.flush();
        Ok(())
    }
}
