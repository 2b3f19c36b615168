//! One function per request.

use core::fmt::{Display, Write};
use core::ops::Range;

use crate::engine;
use crate::protocol::{
    HelloReply, InfoReply, ModelInfo, PROTOCOL_VERSION, Refusal, Reply, Request,
};

use super::calibrate::{CALIBRATES, CalibrationOutcome};
use super::facts::{Facts, Unusable};
use super::inference::{Inference, infer};
use super::observer::{LayerPart, Wanted, Watch};
use super::session::{Parameters, Session, parameters};
use super::slots::Slots;
use super::{Description, ModelFlash, Platform};

pub(super) const WORD: usize = 4;

/// What an inference tells about every operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PerOperation {
    Nothing,
    Digest,
    Ticks,
}

/// What the last inference left.
#[derive(Debug, Clone)]
pub(super) struct Results {
    /// The logits in the arena.
    pub(super) logits: Range<usize>,
    /// What the numbers are that it left.
    kind: PerOperation,
    /// Bytes of them.
    bytes: usize,
}

/// The state of a board between two requests.
#[derive(Debug)]
pub(super) struct Commands<'a, F, P> {
    pub(super) description: Description<'a>,
    pub(super) platform: P,
    pub(super) slots: Slots<F>,
    pub(super) facts: Option<Facts>,
    /// The calibration that has begun.
    pub(super) session: Option<Session>,
    pub(super) arena: &'a mut [u8],
    pub(super) results_memory: &'a mut [u8],
    pub(super) chunk: usize,
    /// Bytes of pixels that have come.
    pub(super) received: u32,
    pub(super) results: Option<Results>,
    /// Version of the model that was in use last.
    running: Option<u32>,
    reason: heapless::String<160>,
}

impl<'a, F: ModelFlash, P: Platform> Commands<'a, F, P> {
    pub(super) fn new(
        description: Description<'a>,
        platform: P,
        flash: F,
        arena: &'a mut [u8],
        results_memory: &'a mut [u8],
        chunk: usize,
    ) -> Self {
        let mut facts = None;
        let slots = Slots::new(flash, description.slots, |bytes| {
            let admitted = platform.admit(bytes, None).is_ok();
            facts = admitted
                .then(|| Facts::read(bytes, arena.len()).ok())
                .flatten();
            facts.is_some()
        });
        if let (Some(facts), Some(active)) = (&mut facts, slots.active()) {
            facts.info.generation = active.generation;
            facts.find_record(&slots);
        }
        Self {
            description,
            platform,
            running: facts.map(|facts| facts.info.version),
            slots,
            facts,
            session: None,
            arena,
            results_memory,
            chunk,
            received: 0,
            results: None,
            reason: heapless::String::new(),
        }
    }

    /// Carries out a request; `None` is one that cannot be decoded.
    pub(super) fn handle(&mut self, request: Option<Request<'_>>) -> Reply<'_> {
        match self.execute(request) {
            Ok(Outcome::Done) => Reply::Done,
            Ok(Outcome::Hello) => Reply::Hello(self.hello()),
            Ok(Outcome::Committed(info)) => Reply::Committed(info),
            Ok(Outcome::Ran { ticks }) => Reply::Ran {
                ticks,
                logits: self.logits_from(0),
            },
            Ok(Outcome::Logits { first }) => Reply::Logits {
                logits: self.logits_from(first),
            },
            Ok(Outcome::Digests { first }) => Reply::LayerDigests {
                digests: self.results_from(first),
            },
            Ok(Outcome::Ticks { first }) => Reply::LayerTicks {
                ticks: self.results_from(first),
            },
            Ok(Outcome::Layer(part)) => Reply::Layer {
                length: part.length as u32,
                data: self.results_memory.get(..part.copied).unwrap_or_default(),
            },
            Ok(Outcome::Info(info)) => Reply::Info(info),
            Ok(Outcome::Calibration(outcome)) => {
                Reply::Calibration(self.calibration_reply(outcome))
            }
            Err(Refusal::Model { .. }) => Reply::Refused(Refusal::Model {
                reason: &self.reason,
            }),
            Err(refusal) => Reply::Refused(refusal),
        }
    }

    fn execute(&mut self, request: Option<Request<'_>>) -> Result<Outcome, Refusal<'static>> {
        match request.ok_or(Refusal::Undecodable)? {
            Request::Hello { .. } => Ok(Outcome::Hello),
            Request::FlashBegin { length, checksum } => self.flash_begin(length, checksum),
            Request::FlashWrite { offset, data } => {
                self.slots.write(offset, data).map(|()| Outcome::Done)
            }
            Request::FlashCommit => self.flash_commit(),
            Request::Input { offset, data } => self.input(offset, data),
            Request::Run { digests: false } => self.run(PerOperation::Nothing, Parameters::InUse),
            Request::Run { digests: true } => self.run(PerOperation::Digest, Parameters::InUse),
            Request::Measure => self.run(PerOperation::Ticks, Parameters::InUse),
            Request::Logits { first } => self.logits(first),
            Request::LayerDigests { first } => {
                self.has_results(PerOperation::Digest, first)?;
                Ok(Outcome::Digests { first })
            }
            Request::LayerTicks { first } => {
                self.has_results(PerOperation::Ticks, first)?;
                Ok(Outcome::Ticks { first })
            }
            Request::LayerRead { layer, offset } => self.layer_read(layer, offset),
            Request::Info => Ok(self.info()),
            Request::Calibration(request) => self.calibrate(request),
        }
    }

    fn hello(&self) -> HelloReply<'_> {
        HelloReply {
            protocol: PROTOCOL_VERSION,
            runtime: crate::VERSION,
            board: self.description.name,
            core: self.description.core,
            tick: self.description.tick,
            chunk_bytes: self.chunk as u32,
            ahead_bytes: self.description.ahead_bytes,
            arena_bytes: self.arena.len() as u32,
            stack_bytes: self.description.stack_bytes,
            slots: self.description.slots,
            slot_bytes: self.slots.capacity() as u32,
            model: self.facts.map(|facts| facts.info),
        }
    }

    fn info(&self) -> Outcome {
        Outcome::Info(InfoReply {
            stack_used: self.platform.stack_used(),
            arena_used: self.facts.map_or(0, |facts| facts.info.arena_bytes),
            slot: self.slots.active().map(|active| active.slot),
        })
    }

    fn flash_begin(&mut self, length: u32, checksum: u32) -> Result<Outcome, Refusal<'static>> {
        let begun = self.slots.begin(length, checksum);
        if self.slots.active().is_none() {
            self.facts = None;
        }
        self.session = None;
        self.forget_inference();
        begun.map(|()| Outcome::Done)
    }

    fn flash_commit(&mut self) -> Result<Outcome, Refusal<'static>> {
        let mut written = self.slots.written()?;
        self.platform.admit(written.bytes(), self.running)?;
        let mut facts = match Facts::read(written.bytes(), self.arena.len()) {
            Ok(facts) => facts,
            Err(unusable) => return Err(self.refuse_model(unusable)),
        };
        if CALIBRATES {
            // What lies behind it are traces of models before.
            written.clear_records()?;
        }
        facts.info.generation = written.activate()?.generation;
        facts.find_record(&self.slots);
        self.facts = Some(facts);
        self.running = Some(facts.info.version);
        self.session = None;
        self.forget_inference();
        Ok(Outcome::Committed(facts.info))
    }

    fn input(&mut self, offset: u32, data: &[u8]) -> Result<Outcome, Refusal<'static>> {
        let facts = self.facts.ok_or(Refusal::NoModel)?;
        if offset == 0 {
            self.forget_inference();
        }
        let length = facts.info.pixel_bytes;
        let received = next_part(self.received, length, offset, data)?;
        let place = (facts.pixels as usize).saturating_add(offset as usize);
        let pixels = self.arena.get_mut(place..).unwrap_or_default();
        pixels
            .iter_mut()
            .zip(data)
            .for_each(|(to, from)| *to = *from);
        self.received = received;
        Ok(Outcome::Done)
    }

    /// One inference with one of the sets of parameters. Not inlined: it holds all kernels.
    #[inline(never)]
    pub(super) fn run(
        &mut self,
        kind: PerOperation,
        which: Parameters,
    ) -> Result<Outcome, Refusal<'static>> {
        let facts = self.take_input()?;
        let needed = match kind {
            PerOperation::Nothing => 0,
            PerOperation::Digest | PerOperation::Ticks => usize::from(facts.info.operations) * WORD,
        };
        let capacity = self.results_memory.len();
        let memory = self
            .results_memory
            .get_mut(..needed)
            .ok_or(Refusal::Digests {
                needed: facts.info.operations,
                capacity: (capacity / WORD) as u16,
            })?;
        let wanted = match kind {
            PerOperation::Ticks => Wanted::Ticks {
                into: memory,
                since: 0,
            },
            PerOperation::Nothing | PerOperation::Digest => Wanted::Digests(memory),
        };
        let mut watch = Watch {
            wanted,
            platform: &mut self.platform,
            ticks: 0,
        };
        let corrections = parameters(&self.slots, &facts, self.session.as_ref(), which);
        match infer(
            self.slots.active_bytes(),
            corrections,
            self.arena,
            &mut watch,
        ) {
            Ok(Inference { ticks, logits }) => {
                self.results = Some(Results {
                    logits,
                    kind,
                    bytes: needed,
                });
                Ok(Outcome::Ran { ticks })
            }
            Err(unusable) => Err(self.refuse_model(unusable)),
        }
    }

    fn logits(&self, first: u16) -> Result<Outcome, Refusal<'static>> {
        let results = self.results.as_ref().ok_or(Refusal::NoResult)?;
        in_range(first, results.logits.len() / WORD)?;
        Ok(Outcome::Logits { first })
    }

    /// Whether the last inference left numbers of that kind, from `first` on.
    fn has_results(&self, kind: PerOperation, first: u16) -> Result<(), Refusal<'static>> {
        let results = self.results.as_ref();
        let found = results.filter(|results| results.kind == kind);
        in_range(first, found.ok_or(Refusal::NoResult)?.bytes / WORD)
    }

    fn layer_read(&mut self, layer: u16, offset: u32) -> Result<Outcome, Refusal<'static>> {
        let operations = self.facts.ok_or(Refusal::NoModel)?.info.operations;
        in_range(layer, operations.into())?;
        let facts = self.take_input()?;
        let room = self.chunk.min(self.results_memory.len()) / WORD * WORD;
        let mut watch = Watch {
            wanted: Wanted::Layer {
                layer: layer.into(),
                offset: offset as usize,
                into: self.results_memory.get_mut(..room).unwrap_or_default(),
                found: None,
            },
            platform: &mut self.platform,
            ticks: 0,
        };
        let corrections = parameters(&self.slots, &facts, None, Parameters::InUse);
        let inferred = infer(
            self.slots.active_bytes(),
            corrections,
            self.arena,
            &mut watch,
        );
        let Wanted::Layer { found, .. } = watch.wanted else {
            return Err(Refusal::NoResult);
        };
        if let Err(unusable) = inferred {
            return Err(self.refuse_model(unusable));
        }
        found.map(Outcome::Layer).ok_or(Refusal::NoResult)
    }

    /// Uses up the pixels, if all have come.
    pub(super) fn take_input(&mut self) -> Result<Facts, Refusal<'static>> {
        let facts = self.facts.ok_or(Refusal::NoModel)?;
        let expected = facts.info.pixel_bytes;
        let received = self.received;
        if received != expected {
            return Err(Refusal::Incomplete { expected, received });
        }
        self.forget_inference();
        Ok(facts)
    }

    pub(super) fn forget_inference(&mut self) {
        self.received = 0;
        self.results = None;
    }

    fn refuse_model(&mut self, unusable: Unusable) -> Refusal<'static> {
        match unusable {
            Unusable::Format(error) => self.refuse(error),
            Unusable::Engine(engine::Error::ArenaTooSmall { needed, available }) => {
                Refusal::Arena {
                    needed: needed as u32,
                    available: available as u32,
                }
            }
            Unusable::Engine(error) => self.refuse(error),
        }
    }

    /// Keeps the words of `error`, as many as there is room for.
    fn refuse(&mut self, error: impl Display) -> Refusal<'static> {
        self.reason.clear();
        // An error of `write!` says that the end is missing, which is better than no words.
        let _ = write!(Truncated(&mut self.reason), "{error}");
        Refusal::Model { reason: "" }
    }

    fn logits_from(&self, first: u16) -> &[u8] {
        let all = self
            .results
            .as_ref()
            .and_then(|results| self.arena.get(results.logits.clone()));
        self.part(all.unwrap_or_default(), first)
    }

    fn results_from(&self, first: u16) -> &[u8] {
        let length = self.results.as_ref().map_or(0, |results| results.bytes);
        self.part(self.results_memory.get(..length).unwrap_or_default(), first)
    }

    /// As many words as fit into a message.
    fn part<'b>(&self, words: &'b [u8], first: u16) -> &'b [u8] {
        let rest = words.get(usize::from(first) * WORD..).unwrap_or_default();
        rest.get(..self.chunk / WORD * WORD).unwrap_or(rest)
    }
}

/// What a request led to; the bytes of the reply are still where they were made.
pub(super) enum Outcome {
    Done,
    Hello,
    Committed(ModelInfo),
    Ran { ticks: u64 },
    Logits { first: u16 },
    Digests { first: u16 },
    Ticks { first: u16 },
    Layer(LayerPart),
    Info(InfoReply),
    Calibration(CalibrationOutcome),
}

/// Number of bytes received once `data` has come, if it is what must come next.
pub(super) fn next_part(
    received: u32,
    length: u32,
    offset: u32,
    data: &[u8],
) -> Result<u32, Refusal<'static>> {
    if offset != received {
        return Err(Refusal::Offset {
            expected: received,
            found: offset,
        });
    }
    let end = received.saturating_add(data.len() as u32);
    if end > length {
        return Err(Refusal::TooLong {
            expected: length,
            found: end,
        });
    }
    Ok(end)
}

pub(super) fn in_range(index: u16, count: usize) -> Result<(), Refusal<'static>> {
    if usize::from(index) < count {
        return Ok(());
    }
    Err(Refusal::Index {
        index: index.into(),
        count: count as u32,
    })
}

/// Takes what fits and drops the rest.
struct Truncated<'s, const N: usize>(&'s mut heapless::String<N>);

impl<const N: usize> Write for Truncated<'_, N> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        text.chars()
            .try_for_each(|character| self.0.push(character))
            .map_err(|_| core::fmt::Error)
    }
}
