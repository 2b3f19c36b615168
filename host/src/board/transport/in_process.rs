//! The firmware's command loop in a thread of this process, for when there is no emulator.

use std::convert::Infallible;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use lowbit_runtime::format::MAX_OPERATIONS;
use lowbit_runtime::protocol::{FRAME_BYTES, TickUnit};
use lowbit_runtime::service::{self, Board, Buffers, Description, Platform};

use crate::board::BoardSpec;
use crate::integer::Arena;

use super::memory_flash::MemoryFlash;
use super::{Transport, TransportError, receive_bytes};

/// Name of a board in this process.
const NAME: &str = "in-process";

/// A channel keeps whatever is sent: a few images.
const AHEAD_BYTES: u32 = 32 << 10;

/// The service of a firmware with the limits of a real board. It forgets its models when it ends.
#[derive(Debug)]
pub struct InProcess {
    requests: Sender<Vec<u8>>,
    replies: Receiver<Vec<u8>>,
}

impl InProcess {
    /// Starts a service with the memory that `board` has.
    #[must_use]
    pub fn start(board: &BoardSpec) -> Self {
        let (requests, to_board) = channel();
        let (from_board, replies) = channel();
        let arena_bytes = board.memory.arena.bytes as usize;
        let models_bytes = board.memory.models.bytes as usize;
        let slots = board.limits.slots;
        thread::spawn(move || {
            let link = Link {
                requests: to_board,
                replies: from_board,
                pending: Vec::new(),
            };
            serve(link, models_bytes, arena_bytes, slots);
        });
        Self { requests, replies }
    }
}

fn serve(link: Link, models_bytes: usize, arena_bytes: usize, slots: u8) {
    let mut arena = Arena::new(arena_bytes);
    let board = Board {
        description: Description {
            name: NAME,
            core: std::env::consts::ARCH,
            tick: TickUnit::Nanoseconds,
            stack_bytes: 0,
            slots,
            ahead_bytes: AHEAD_BYTES,
        },
        link,
        flash: MemoryFlash::new(models_bytes),
        platform: Host(Instant::now()),
        arena: &mut arena.bytes_mut()[..arena_bytes],
        results: &mut [0; 4 * MAX_OPERATIONS as usize],
        buffers: &mut Buffers::<FRAME_BYTES>::new(),
    };
    let Ok(()) = service::run(board);
}

struct Host(Instant);

impl Platform for Host {
    fn ticks(&mut self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }

    fn ticks_per_second(&self) -> u64 {
        1_000_000_000
    }

    fn stack_used(&self) -> u32 {
        0
    }
}

/// The board's end of the line.
struct Link {
    requests: Receiver<Vec<u8>>,
    replies: Sender<Vec<u8>>,
    /// Received but not read.
    pending: Vec<u8>,
}

impl embedded_io::ErrorType for Link {
    type Error = Infallible;
}

impl embedded_io::Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        if self.pending.is_empty() {
            // Nothing can come any more when the other end is gone: the line is closed.
            self.pending = self.requests.recv().unwrap_or_default();
        }
        let count = buffer.len().min(self.pending.len());
        buffer[..count].copy_from_slice(&self.pending[..count]);
        self.pending.drain(..count);
        Ok(count)
    }
}

impl embedded_io::Write for Link {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        // A reply that nobody waits for may be lost.
        let _ = self.replies.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl InProcess {
    fn closed(&self) -> TransportError {
        TransportError::Closed {
            what: self.describe(),
            reason: "its thread has ended".into(),
        }
    }
}

impl Transport for InProcess {
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        let sent = self.requests.send(bytes.to_vec());
        sent.map_err(|_| self.closed())
    }

    fn receive(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, TransportError> {
        receive_bytes(&self.replies, timeout).map_err(|_| self.closed())
    }

    fn describe(&self) -> String {
        "the service in this process".into()
    }
}
