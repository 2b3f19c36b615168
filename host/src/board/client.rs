//! The host's end of the protocol.

use lowbit_runtime::protocol::{
    CalibrationReply, CalibrationRequest, HelloReply, InfoReply, ModelInfo, PROTOCOL_VERSION,
    Reply, Request, TickUnit,
};

use super::Error;
use super::line::{Line, Settings, Work};
use super::transport::Transport;

/// What a board says about itself, see [`HelloReply`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Version of the runtime in its firmware.
    pub runtime: String,
    /// Name of the board.
    pub board: String,
    /// Processor core.
    pub core: String,
    /// Unit of [`Inference::ticks`].
    pub tick: TickUnit,
    /// Most bytes of data in a message.
    pub chunk_bytes: usize,
    /// Bytes of requests that its link keeps while it is busy.
    pub ahead_bytes: usize,
    /// Bytes of arena.
    pub arena_bytes: u32,
    /// Bytes reserved for the stack.
    pub stack_bytes: u32,
    /// Number of model slots.
    pub slots: u8,
    /// Bytes of the largest model that a slot holds.
    pub slot_bytes: u32,
    /// The model in use.
    pub model: Option<ModelInfo>,
}

impl From<HelloReply<'_>> for Greeting {
    fn from(hello: HelloReply<'_>) -> Self {
        Self {
            runtime: hello.runtime.to_owned(),
            board: hello.board.to_owned(),
            core: hello.core.to_owned(),
            tick: hello.tick,
            chunk_bytes: hello.chunk_bytes as usize,
            ahead_bytes: hello.ahead_bytes as usize,
            arena_bytes: hello.arena_bytes,
            stack_bytes: hello.stack_bytes,
            slots: hello.slots,
            slot_bytes: hello.slot_bytes,
            model: hello.model,
        }
    }
}

/// The result of one inference on a board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inference {
    /// One per class, unit 2^-16.
    pub logits: Vec<i32>,
    /// Its duration in units of [`Greeting::tick`].
    pub ticks: u64,
}

/// A conversation with a board.
pub struct Client {
    pub(super) line: Line,
    greeting: Greeting,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Client");
        shown
            .field("greeting", &self.greeting)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Asks the board what it is.
    ///
    /// # Errors
    /// If it does not answer, or speaks another version of the protocol.
    pub fn connect(transport: Box<dyn Transport>, settings: Settings) -> Result<Self, Error> {
        let mut line = Line::new(transport, settings);
        let hello = Request::Hello {
            protocol: PROTOCOL_VERSION,
        };
        let greeting = line.ask("hello", &hello, Work::Short, |reply| match reply {
            Reply::Hello(hello) if hello.chunk_bytes > 0 => Some(Greeting::from(hello)),
            _ => None,
        })?;
        line.allow_ahead(greeting.ahead_bytes);
        tracing::debug!(?greeting, "connected");
        Ok(Self { line, greeting })
    }

    /// What the board said about itself, with the model that it has now.
    #[must_use]
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Memory used on the board so far.
    ///
    /// # Errors
    /// If the board does not answer.
    pub fn info(&mut self) -> Result<InfoReply, Error> {
        self.line
            .ask("info", &Request::Info, Work::Short, |reply| match reply {
                Reply::Info(info) => Some(info),
                _ => None,
            })
    }

    /// Runs the model on one image, height x width x channels.
    ///
    /// # Errors
    /// If the board refuses or does not answer.
    pub fn infer(&mut self, pixels: &[u8]) -> Result<Inference, Error> {
        self.run(pixels, &Request::Run { digests: false })
    }

    /// Like [`infer`](Self::infer), and returns the checksum of every operation's output as well.
    ///
    /// # Errors
    /// If the board refuses or does not answer.
    pub fn infer_with_digests(&mut self, pixels: &[u8]) -> Result<(Inference, Vec<u32>), Error> {
        let inference = self.run(pixels, &Request::Run { digests: true })?;
        let mut digests: Vec<u32> = Vec::new();
        while digests.len() < self.operations() {
            let first = digests.len() as u16;
            let request = Request::LayerDigests { first };
            let words = self.words("layer checksums", &request, |reply| match reply {
                Reply::LayerDigests { digests } => Some(digests.to_vec()),
                _ => None,
            })?;
            digests.extend(words.iter().map(|&word| u32::from_le_bytes(word)));
        }
        Ok((inference, digests))
    }

    /// Like [`infer`](Self::infer), and returns the duration of every operation as well.
    ///
    /// # Errors
    /// If the board refuses or does not answer.
    pub fn measure(&mut self, pixels: &[u8]) -> Result<(Inference, Vec<u32>), Error> {
        let inference = self.run(pixels, &Request::Measure)?;
        let mut ticks: Vec<u32> = Vec::new();
        while ticks.len() < self.operations() {
            let first = ticks.len() as u16;
            let request = Request::LayerTicks { first };
            let words = self.words("layer durations", &request, |reply| match reply {
                Reply::LayerTicks { ticks } => Some(ticks.to_vec()),
                _ => None,
            })?;
            ticks.extend(words.iter().map(|&word| u32::from_le_bytes(word)));
        }
        Ok((inference, ticks))
    }

    /// Number of operations of the board's model.
    pub(super) fn operations(&self) -> usize {
        self.greeting
            .model
            .map_or(0, |model| model.operations.into())
    }

    /// Number of classes of the board's model.
    pub(super) fn classes(&self) -> usize {
        self.greeting.model.map_or(0, |model| model.classes.into())
    }

    /// Sends a request, see [`Line::ask`].
    pub(super) fn ask<T>(
        &mut self,
        name: &'static str,
        request: &Request<'_>,
        work: Work,
        read: impl FnOnce(Reply<'_>) -> Option<T>,
    ) -> Result<T, Error> {
        self.line.ask(name, request, work, read)
    }

    /// The same for requests about calibrations.
    pub(super) fn ask_calibration<T>(
        &mut self,
        name: &'static str,
        request: CalibrationRequest,
        work: Work,
        read: impl FnOnce(CalibrationReply<'_>) -> Option<T>,
    ) -> Result<T, Error> {
        let request = Request::Calibration(request);
        self.ask(name, &request, work, |reply| match reply {
            Reply::Calibration(reply) => read(reply),
            _ => None,
        })
    }

    /// Remembers which record the board uses.
    pub(super) fn note_record(&mut self, record: Option<u32>) {
        if let Some(model) = &mut self.greeting.model {
            model.record = record;
        }
    }

    pub(super) fn run(&mut self, pixels: &[u8], request: &Request<'_>) -> Result<Inference, Error> {
        self.send_pixels(pixels)?;
        self.run_present(request)
    }

    /// The same on the pixels that the board has.
    pub(super) fn run_present(&mut self, request: &Request<'_>) -> Result<Inference, Error> {
        let (ticks, first) =
            self.line
                .ask("an inference", request, Work::Long, |reply| match reply {
                    Reply::Ran { ticks, logits } => Some((ticks, logits.to_vec())),
                    _ => None,
                })?;
        let mut logits: Vec<i32> = as_words(&first).map(i32::from_le_bytes).collect();
        while logits.len() < self.classes() {
            let request = Request::Logits {
                first: logits.len() as u16,
            };
            let words = self.words("logits", &request, |reply| match reply {
                Reply::Logits { logits } => Some(logits.to_vec()),
                _ => None,
            })?;
            logits.extend(words.iter().map(|&word| i32::from_le_bytes(word)));
        }
        Ok(Inference { logits, ticks })
    }

    /// The output of operation `layer` for one image, in canonical order.
    ///
    /// # Errors
    /// If the board refuses or does not answer.
    pub fn read_layer(&mut self, pixels: &[u8], layer: u16) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        loop {
            self.send_pixels(pixels)?;
            let request = Request::LayerRead {
                layer,
                offset: bytes.len() as u32,
            };
            let length = self
                .line
                .ask("a layer", &request, Work::Long, |reply| match reply {
                    Reply::Layer { length, data } => {
                        bytes.extend(data);
                        let complete = bytes.len() >= length as usize;
                        (complete || !data.is_empty()).then_some(length as usize)
                    }
                    _ => None,
                })?;
            if bytes.len() >= length {
                return Ok(bytes);
            }
        }
    }

    /// Replaces the board's model with `bytes`, which must fit. `progress` learns how many bytes
    /// have arrived.
    pub(super) fn write_model(
        &mut self,
        bytes: &[u8],
        checksum: u32,
        progress: &mut dyn FnMut(usize),
    ) -> Result<ModelInfo, Error> {
        let length = bytes.len() as u32;
        let begin = Request::FlashBegin { length, checksum };
        self.line
            .ask("room for the model", &begin, Work::Long, done)?;
        let mut offset = 0;
        for data in bytes.chunks(self.greeting.chunk_bytes) {
            let write = Request::FlashWrite {
                offset: offset as u32,
                data,
            };
            self.line
                .ask("a part of the model", &write, Work::Short, done)?;
            offset += data.len();
            progress(offset);
        }
        let commit = Request::FlashCommit;
        let info = self
            .line
            .ask("the model", &commit, Work::Long, |reply| match reply {
                Reply::Committed(info) => Some(info),
                _ => None,
            })?;
        self.greeting.model = Some(info);
        Ok(info)
    }

    pub(super) fn send_pixels(&mut self, pixels: &[u8]) -> Result<(), Error> {
        let mut offset = 0;
        for data in pixels.chunks(self.greeting.chunk_bytes) {
            let input = Request::Input { offset, data };
            self.line.ask("pixels", &input, Work::Short, done)?;
            offset += data.len() as u32;
        }
        Ok(())
    }

    /// A reply that must consist of at least one word of 4 bytes.
    fn words(
        &mut self,
        name: &'static str,
        request: &Request<'_>,
        read: impl FnOnce(Reply<'_>) -> Option<Vec<u8>>,
    ) -> Result<Vec<[u8; 4]>, Error> {
        self.line.ask(name, request, Work::Short, |reply| {
            let words: Vec<_> = as_words(&read(reply)?).collect();
            (!words.is_empty()).then_some(words)
        })
    }
}

pub(super) fn done(reply: Reply<'_>) -> Option<()> {
    (reply == Reply::Done).then_some(())
}

pub(super) fn as_words(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> + '_ {
    bytes.as_chunks::<4>().0.iter().copied()
}
