//! Requests, repetitions and time-outs.
//!
//! [`ask`](Line::ask) sends one request until its reply comes. What is sent ahead of the replies to
//! requests before it cannot be repeated, as the board drops numbers before the last: when anything
//! is missing, all of it is given up, and whoever sent it asks anew, with new numbers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lowbit_runtime::protocol::{
    FRAME_BYTES, FrameReader, PROTOCOL_VERSION, Reply, Request, encode, versions,
};

use super::transport::Transport;
use super::{Cause, Error};

/// How often a waiting client looks whether the user wants to stop.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(100);
/// How long a reply may still follow a frame that cannot be read.
const SETTLING_TIME: Duration = Duration::from_millis(30);

/// How patient a client is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Time for ordinary requests, in which they are repeated as often as it takes.
    pub timeout: Duration,
    /// Time for an inference, and for erasing and checking a slot.
    pub long_timeout: Duration,
    /// Set when the user wants to stop.
    pub interrupted: Option<Arc<AtomicBool>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            long_timeout: Duration::from_secs(60),
            interrupted: None,
        }
    }
}

/// What a request makes the board do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Little more than to answer.
    Short,
    /// An inference, or erasing or checking a slot.
    Long,
}

/// How long to wait before a request is repeated.
///
/// Repeating too early does no harm, because the board answers a repetition without executing it
/// again, but it costs time on the line.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// The slowest reply of late.
    slowest: Duration,
}

impl Pace {
    /// What a large frame takes on a slow line, so that none is repeated after many small ones.
    const SHORTEST: Duration = Duration::from_millis(150);
    /// By how much a reply may be slower than those before it.
    const MARGIN: u32 = 2;
    /// A request is sent at least that often before it is given up.
    const FEWEST: u32 = 4;

    fn new(work: Work) -> Self {
        let slowest = match work {
            Work::Short => 150,
            Work::Long => 500,
        };
        Self {
            slowest: Duration::from_millis(slowest),
        }
    }

    /// Grows by half with every repetition.
    fn wait(&self, repetitions: u32, timeout: Duration) -> Duration {
        let first = (self.slowest * Self::MARGIN).max(Self::SHORTEST);
        let stretched = (0..repetitions.min(16)).fold(first, |wait, _| wait * 3 / 2);
        stretched.min(timeout / Self::FEWEST)
    }

    /// Takes note of how long a reply took. A lost frame makes that longer than it should be: what
    /// one reply adds, another one takes back.
    fn learn(&mut self, took: Duration) {
        self.slowest = took.clamp(self.slowest / 2, self.slowest * 2);
    }
}

/// A request that was sent before the replies to those before it had come.
struct Ahead {
    sequence: u16,
    work: Work,
    sent: Instant,
    /// Bytes of its frame.
    bytes: usize,
}

/// One end of a line on which requests are answered in their order.
pub(super) struct Line {
    transport: Box<dyn Transport>,
    settings: Settings,
    sequence: u16,
    short: Pace,
    long: Pace,
    /// Received but not looked at.
    pending: Vec<u8>,
    /// Most bytes of requests that may be on their way at once beside those of [`ask`](Self::ask).
    ahead_bytes: usize,
    /// What was sent ahead and has not been answered, oldest first.
    ahead: VecDeque<Ahead>,
    /// When a reply to that was last read, and when one that takes long.
    last_reply: Option<Instant>,
    last_long_reply: Option<Instant>,
}

/// Why there is no reply yet.
enum Failure {
    Silence,
    Garbage(String),
}

impl Line {
    /// A line whose first request has an arbitrary number, so that no reply that an earlier
    /// conversation left on the line is taken for one of this.
    pub(super) fn new(transport: Box<dyn Transport>, settings: Settings) -> Self {
        Self {
            transport,
            settings,
            sequence: rand::random(),
            short: Pace::new(Work::Short),
            long: Pace::new(Work::Long),
            pending: Vec::new(),
            ahead_bytes: 0,
            ahead: VecDeque::new(),
            last_reply: None,
            last_long_reply: None,
        }
    }

    /// Lets so many bytes be sent ahead.
    pub(super) fn allow_ahead(&mut self, bytes: usize) {
        self.ahead_bytes = bytes;
    }

    /// Sends a request now if there is room ahead, and says whether there was.
    pub(super) fn send_ahead(
        &mut self,
        name: &'static str,
        request: &Request<'_>,
        work: Work,
    ) -> Result<bool, Error> {
        let sequence = self.sequence.wrapping_add(1);
        let frame = self.frame(name, sequence, request)?;
        let bytes = frame.len();
        let sent: usize = self.ahead.iter().map(|ahead| ahead.bytes).sum();
        if sent + bytes > self.ahead_bytes {
            return Ok(false);
        }
        self.transport.send(&frame)?;
        self.sequence = sequence;
        self.ahead.push_back(Ahead {
            sequence,
            work,
            sent: Instant::now(),
            bytes,
        });
        Ok(true)
    }

    /// Reads the reply to the oldest request that was sent ahead with `read`. `None` if there is
    /// none, it does not come, or `read` does not take it: then the next [`ask`](Self::ask) gives
    /// up all that was sent ahead.
    pub(super) fn reply_ahead<T>(
        &mut self,
        read: impl FnOnce(Reply<'_>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(&Ahead {
            sequence,
            work,
            sent,
            ..
        }) = self.ahead.front()
        else {
            return Ok(None);
        };
        let mut memory = vec![0; FRAME_BYTES];
        let mut reader = FrameReader::new(&mut memory);
        // All before it has been answered, so that it is no later than it would be alone. Some more
        // patience, as giving up costs more here than repeating does there.
        let timeout = self.timeout(work);
        let until = Instant::now() + self.pace(work).wait(1, timeout);
        let received = self.receive(&mut reader, sequence, until)?;
        let message = received.ok().filter(|(found, _)| *found == sequence);
        let reply = message.and_then(|(_, message)| read(postcard::from_bytes(&message).ok()?));
        match reply {
            Some(_) => {
                self.ahead.pop_front();
                self.learn_ahead(work, sent);
            }
            None => tracing::info!("a reply is missing, asking anew"),
        }
        Ok(reply)
    }

    /// Learns from a reply that may have been there before it was read. What takes long is measured
    /// from one such reply to the next, so that it seems no shorter where the host is the slower
    /// side.
    fn learn_ahead(&mut self, work: Work, sent: Instant) {
        let now = Instant::now();
        let before = match work {
            Work::Short => self.last_reply,
            Work::Long => self.last_long_reply.replace(now),
        };
        self.last_reply = Some(now);
        let since = before.map_or(sent, |before| before.max(sent));
        self.pace(work).learn(now - since);
    }

    /// Sends a request until its reply comes, and reads that with `read`.
    pub(super) fn ask<T>(
        &mut self,
        name: &'static str,
        request: &Request<'_>,
        work: Work,
        read: impl FnOnce(Reply<'_>) -> Option<T>,
    ) -> Result<T, Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let frame = self.frame(name, self.sequence, request)?;
        let start = Instant::now();
        // The board may still be busy with what is given up here.
        let is_behind = !self.ahead.is_empty();
        self.ahead.clear();
        let timeout = self.timeout(if is_behind { Work::Long } else { work });
        let deadline = start + timeout;
        // Outlives the attempts, so that a reply may arrive across two of them.
        let mut memory = vec![0; FRAME_BYTES];
        let mut reader = FrameReader::new(&mut memory);
        let mut last = Failure::Silence;
        let mut attempts = 0;
        let received = loop {
            self.transport.send(&frame)?;
            let repeat = Instant::now() + self.pace(work).wait(attempts, timeout);
            attempts += 1;
            match self.receive(&mut reader, self.sequence, repeat.min(deadline))? {
                Ok((_, message)) => break Ok(message),
                Err(Failure::Silence) => {}
                Err(garbage) => last = garbage,
            }
            if Instant::now() >= deadline {
                break Err(last);
            }
            tracing::info!(request = name, attempts, "no reply, asking again");
        };
        match received {
            Ok(message) => {
                if !is_behind {
                    self.pace(work).learn(start.elapsed());
                }
                self.understand(name, &message, read)
            }
            Err(failure) => Err(self.give_up(name, failure, attempts, start.elapsed())),
        }
    }

    fn timeout(&self, work: Work) -> Duration {
        match work {
            Work::Short => self.settings.timeout,
            Work::Long => self.settings.long_timeout.max(self.settings.timeout),
        }
    }

    fn pace(&mut self, work: Work) -> &mut Pace {
        match work {
            Work::Short => &mut self.short,
            Work::Long => &mut self.long,
        }
    }

    fn frame(
        &self,
        name: &'static str,
        sequence: u16,
        request: &Request<'_>,
    ) -> Result<Vec<u8>, Error> {
        // The zero byte in front ends whatever the board may have received before.
        let (mut plain, mut frame) = ([0; FRAME_BYTES], vec![0; FRAME_BYTES + 1]);
        let encoded = encode(sequence, request, &mut plain, &mut frame[1..]);
        let length = encoded.map_err(|_| Error::Unexpected {
            board: self.transport.describe(),
            request: name,
        })?;
        frame.truncate(1 + length);
        Ok(frame)
    }

    /// The next message with one of the numbers from `first` to the last that was sent, and its
    /// number. Others are skipped. Gives up at `until`, or soon after a frame that cannot be read:
    /// it may have been the reply.
    fn receive(
        &mut self,
        reader: &mut FrameReader<'_>,
        first: u16,
        mut until: Instant,
    ) -> Result<Result<(u16, Vec<u8>), Failure>, Error> {
        let last = self.sequence.wrapping_sub(first);
        let mut failure = Failure::Silence;
        loop {
            let pending = std::mem::take(&mut self.pending);
            for (index, &byte) in pending.iter().enumerate() {
                match reader.push(byte) {
                    Some(Ok(frame)) if frame.sequence.wrapping_sub(first) <= last => {
                        let message = (frame.sequence, frame.message.to_vec());
                        self.pending = pending[index + 1..].to_vec();
                        return Ok(Ok(message));
                    }
                    Some(Err(error)) => {
                        failure = Failure::Garbage(error.to_string());
                        until = until.min(Instant::now() + SETTLING_TIME);
                    }
                    Some(Ok(_)) | None => {}
                }
            }
            let interrupted = self.settings.interrupted.as_ref();
            if interrupted.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
                return Err(Error::Interrupted);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Err(failure));
            }
            let wait = left.min(INTERRUPT_INTERVAL);
            self.pending = self.transport.receive(wait)?.unwrap_or_default();
        }
    }

    fn give_up(
        &self,
        request: &'static str,
        failure: Failure,
        attempts: u32,
        time: Duration,
    ) -> Error {
        let board = self.transport.describe();
        match failure {
            Failure::Silence => Error::Silent {
                board,
                request,
                attempts,
                seconds: time.as_secs_f64(),
            },
            Failure::Garbage(last) => Error::Garbage {
                board,
                request,
                last,
            },
        }
    }

    fn understand<T>(
        &self,
        name: &'static str,
        message: &[u8],
        read: impl FnOnce(Reply<'_>) -> Option<T>,
    ) -> Result<T, Error> {
        let board = || self.transport.describe();
        if let Some((protocol, runtime)) = versions(message)
            && protocol != PROTOCOL_VERSION
        {
            return Err(Error::Protocol {
                board_protocol: protocol,
                board_runtime: runtime.to_owned(),
                host_runtime: lowbit_runtime::VERSION,
            });
        }
        match postcard::from_bytes(message) {
            Ok(Reply::Refused(refusal)) => Err(Error::Refused {
                board: board(),
                request: name,
                reason: refusal.to_string(),
                cause: Cause::of(&refusal),
            }),
            Ok(reply) => read(reply).ok_or_else(|| Error::Unexpected {
                board: board(),
                request: name,
            }),
            Err(error) => Err(Error::Garbage {
                board: board(),
                request: name,
                last: error.to_string(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_follow_the_board_and_stretch() {
        let milliseconds = Duration::from_millis;
        let timeout = milliseconds(5000);
        let mut pace = Pace::new(Work::Short);
        let waits = [0, 1, 2, u32::MAX].map(|repetitions| pace.wait(repetitions, timeout));
        assert_eq!(waits, [300, 450, 675, 1250].map(milliseconds));
        pace.learn(milliseconds(400));
        assert_eq!(pace.wait(0, timeout), milliseconds(600));
        pace.learn(milliseconds(400));
        assert_eq!(pace.wait(0, timeout), milliseconds(800));
        pace.learn(milliseconds(1));
        assert_eq!(pace.wait(0, timeout), milliseconds(400));
        pace.learn(milliseconds(1));
        pace.learn(milliseconds(1));
        assert_eq!(pace.wait(0, timeout), Pace::SHORTEST);
    }
}
