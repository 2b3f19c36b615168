//! A line between host and board that damages what it carries.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lowbit_host::board::transport::{Transport, TransportError};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Longest time that a part of a frame is held back.
const LONGEST_DELAY: Duration = Duration::from_millis(200);
/// Most bytes that are lost or repeated at once.
const LONGEST_RUN: usize = 16;
/// How often the line looks whether something that is held back is due.
const TICK: Duration = Duration::from_millis(5);

/// What a rate is a share of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// Of all frames, so many suffer one fault of each kind.
    Frame,
    /// So many bytes suffer one fault of each kind.
    Byte,
}

/// How many faults of each kind a line has made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Runs of bytes that were lost.
    pub dropped: usize,
    /// Bits that were changed.
    pub flipped: usize,
    /// Runs of bytes that were sent twice.
    pub duplicated: usize,
    /// Places behind which everything came late.
    pub delayed: usize,
    /// Places where one piece became two.
    pub split: usize,
}

impl Faults {
    /// The number of faults that damage bytes: lost, changed or repeated ones.
    #[must_use]
    pub fn damage(&self) -> usize {
        self.dropped + self.flipped + self.duplicated
    }
}

/// Bytes on their way, and when they arrive.
type Piece = (Instant, Vec<u8>);

/// A line with faults in both directions. Like any cable it keeps the order of what it carries.
pub struct FaultyLine<T> {
    inner: T,
    random: ChaCha8Rng,
    rate: f64,
    per: Per,
    faults: Arc<Mutex<Faults>>,
    /// From the board, not yet a whole frame.
    unfinished: Vec<u8>,
    to_board: VecDeque<Piece>,
    to_host: VecDeque<Piece>,
}

impl<T: Transport> FaultyLine<T> {
    /// A line over `inner` with faults at `rate`, always the same ones for a `seed`.
    pub fn new(inner: T, per: Per, rate: f64, seed: u64) -> Self {
        Self {
            inner,
            random: ChaCha8Rng::seed_from_u64(seed),
            rate,
            per,
            faults: Arc::default(),
            unfinished: Vec::new(),
            to_board: VecDeque::new(),
            to_host: VecDeque::new(),
        }
    }

    /// What has happened on the line, also after it has been given away.
    pub fn faults(&self) -> Arc<Mutex<Faults>> {
        Arc::clone(&self.faults)
    }

    /// Whether a fault happens to something that has that many chances of it.
    fn happens(&mut self) -> bool {
        self.random.random_bool(self.rate)
    }

    /// The pieces that arrive in place of `bytes`, with the time that each is held back.
    fn carry(&mut self, bytes: &[u8]) -> Vec<(Duration, Vec<u8>)> {
        let units = match self.per {
            Per::Frame => bytes.chunks(bytes.len().max(1)),
            Per::Byte => bytes.chunks(1),
        };
        let mut pieces = vec![(Duration::ZERO, Vec::new())];
        for unit in units {
            let unit = self.damage(unit);
            let (place, delay) = self.cut(unit.len());
            let (before, behind) = unit.split_at(place.unwrap_or(0));
            if let Some((_, piece)) = pieces.last_mut() {
                piece.extend_from_slice(before);
            }
            match place {
                Some(_) => pieces.push((delay, behind.to_vec())),
                None => pieces.last_mut().expect("starts with one").1.extend(behind),
            }
        }
        pieces
    }

    /// Drops, flips and duplicates.
    fn damage(&mut self, unit: &[u8]) -> Vec<u8> {
        let mut bytes = unit.to_vec();
        let mut faults = Faults::default();
        if self.happens() {
            let (start, end) = self.run(bytes.len());
            bytes.drain(start..end);
            faults.dropped += 1;
        }
        if self.happens() && !bytes.is_empty() {
            let place = self.random.random_range(0..bytes.len());
            bytes[place] ^= 1 << self.random.random_range(0..8);
            faults.flipped += 1;
        }
        if self.happens() {
            // The whole unit now and then: a frame that comes twice.
            let (start, end) = match self.random.random_bool(0.5) {
                true => (0, bytes.len()),
                false => self.run(bytes.len()),
            };
            let run = bytes[start..end].to_vec();
            bytes.splice(end..end, run);
            faults.duplicated += 1;
        }
        self.count(faults);
        bytes
    }

    /// Where a unit of `length` bytes is cut, and for how long the rest is held back.
    fn cut(&mut self, length: usize) -> (Option<usize>, Duration) {
        let (delayed, split) = (self.happens(), self.happens());
        self.count(Faults {
            delayed: delayed.into(),
            split: split.into(),
            ..Faults::default()
        });
        let place = (delayed || split).then(|| self.random.random_range(0..=length));
        let delay = match delayed {
            true => LONGEST_DELAY.mul_f64(self.random.random_range(0.0..1.0)),
            false => Duration::ZERO,
        };
        (place, delay)
    }

    /// Start and end of a short run within `length` bytes.
    fn run(&mut self, length: usize) -> (usize, usize) {
        let start = self.random.random_range(0..=length);
        let end = start + self.random.random_range(1..=LONGEST_RUN);
        (start, end.min(length))
    }

    fn count(&self, more: Faults) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.dropped += more.dropped;
        faults.flipped += more.flipped;
        faults.duplicated += more.duplicated;
        faults.delayed += more.delayed;
        faults.split += more.split;
    }

    /// Passes on to the board what is due.
    fn deliver(&mut self) -> Result<(), TransportError> {
        while let Some(bytes) = take_due(&mut self.to_board) {
            self.inner.send(&bytes)?;
        }
        Ok(())
    }

    /// Takes what the board has sent, in the units that faults happen to.
    fn collect(&mut self, bytes: &[u8]) {
        if self.per == Per::Byte {
            let pieces = self.carry(bytes);
            append(&mut self.to_host, pieces);
            return;
        }
        for &byte in bytes {
            self.unfinished.push(byte);
            if byte == 0 {
                let frame = std::mem::take(&mut self.unfinished);
                let pieces = self.carry(&frame);
                append(&mut self.to_host, pieces);
            }
        }
    }
}

/// Queues pieces behind those that are on their way.
fn append(queue: &mut VecDeque<Piece>, pieces: Vec<(Duration, Vec<u8>)>) {
    for (delay, bytes) in pieces {
        let now = Instant::now();
        let last = queue.back().map_or(now, |&(due, _)| due.max(now));
        queue.push_back((last + delay, bytes));
    }
}

fn take_due(queue: &mut VecDeque<Piece>) -> Option<Vec<u8>> {
    let due = queue.front().is_some_and(|&(due, _)| due <= Instant::now());
    due.then(|| queue.pop_front())?.map(|(_, bytes)| bytes)
}

impl<T: Transport> Transport for FaultyLine<T> {
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        let pieces = self.carry(bytes);
        append(&mut self.to_board, pieces);
        self.deliver()
    }

    fn receive(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, TransportError> {
        let deadline = Instant::now() + timeout;
        loop {
            self.deliver()?;
            if let Some(bytes) = take_due(&mut self.to_host) {
                return Ok(Some(bytes));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            if let Some(bytes) = self.inner.receive(left.min(TICK))? {
                self.collect(&bytes);
            }
        }
    }

    fn describe(&self) -> String {
        format!("{} behind a bad cable", self.inner.describe())
    }
}
