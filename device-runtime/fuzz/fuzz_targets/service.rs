//! Any messages to a board whose power may fail at any byte that it writes: it goes on, and after a
//! restart it has a model if it had one before.
//!
//! ```text
//! input  0  bytes of flash that can be changed before the power fails, u16; all ones: it does not
//!        2  messages: a length, then as many bytes, an encoded request or not
//! ```
#![no_main]

use std::convert::Infallible;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use lowbit_runtime::format::CHECKSUM;
use lowbit_runtime::protocol::{
    FRAME_BYTES, FrameReader, MIN_FRAME_BYTES, Reply, Request, TickUnit, chunk_bytes, encode,
};
use lowbit_runtime::service::{Board, Buffers, Description, Platform, run};
use lowbit_runtime::testing::calibratable_model;
use lowbit_runtime::testing::memory_flash::MemoryFlash;
use serde::ser::{Serialize, SerializeTuple, Serializer};

const ARENA_BYTES: usize = 256;
const SLOTS: u8 = 2;

fuzz_target!(|data: &[u8]| {
    let Some((power, mut messages)) = data.split_first_chunk() else {
        return;
    };
    static WITH_MODEL: OnceLock<MemoryFlash> = OnceLock::new();
    let mut flash = WITH_MODEL.get_or_init(with_model).clone();

    let mut line = Vec::new();
    let mut sequence = 0;
    while let Some((&length, rest)) = messages.split_first() {
        let (message, rest) = rest.split_at(rest.len().min(length.into()));
        sequence += 1;
        line.extend(frame(sequence, &Encoded(message)));
        messages = rest;
    }
    let power = u16::from_le_bytes(*power);
    flash.power = if power == u16::MAX {
        usize::MAX
    } else {
        power.into()
    };
    exchange(&mut flash, &line);
    flash.power = usize::MAX;
    assert!(has_model(&mut flash));
});

fn with_model() -> MemoryFlash {
    let mut flash = MemoryFlash::new();
    exchange(&mut flash, &update(&calibratable_model(7)));
    assert!(has_model(&mut flash));
    flash
}

/// A message as it is.
struct Encoded<'a>(&'a [u8]);

impl Serialize for Encoded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = serializer.serialize_tuple(self.0.len())?;
        for byte in self.0 {
            bytes.serialize_element(byte)?;
        }
        bytes.end()
    }
}

/// Empty for a message that is too long.
fn frame(sequence: u16, message: &impl Serialize) -> Vec<u8> {
    let (mut plain, mut line) = ([0; FRAME_BYTES], [0; FRAME_BYTES]);
    let length = encode(sequence, message, &mut plain, &mut line).unwrap_or(0);
    line[..length].to_vec()
}

/// What writes `model`.
fn update(model: &[u8]) -> Vec<u8> {
    const CHUNK: usize = chunk_bytes(MIN_FRAME_BYTES);
    let begin = Request::FlashBegin {
        length: model.len() as u32,
        checksum: CHECKSUM.checksum(model),
    };
    let parts = model.chunks(CHUNK).enumerate();
    let writes = parts.map(|(part, data)| Request::FlashWrite {
        offset: (part * CHUNK) as u32,
        data,
    });
    let requests = std::iter::once(begin)
        .chain(writes)
        .chain([Request::FlashCommit]);
    let frames = (1..).zip(requests);
    frames
        .flat_map(|(number, request)| frame(number, &request))
        .collect()
}

/// Whether a board that is started now has a model.
fn has_model(flash: &mut MemoryFlash) -> bool {
    let replies = exchange(flash, &frame(1, &Request::Hello { protocol: 0 }));
    let mut buffer = [0; FRAME_BYTES];
    let mut reader = FrameReader::new(&mut buffer);
    let (last, others) = replies.split_last().expect("an answer");
    assert!(others.iter().all(|&byte| reader.push(byte).is_none()));
    let frame = reader.push(*last).expect("is whole").expect("is sound");
    match postcard::from_bytes(frame.message) {
        Ok(Reply::Hello(hello)) => hello.model.is_some(),
        other => panic!("{other:?}"),
    }
}

#[repr(align(8))]
struct Arena([u8; ARENA_BYTES]);

/// Starts a board, sends it `line` and returns what it sends.
fn exchange(flash: &mut MemoryFlash, line: &[u8]) -> Vec<u8> {
    let mut replies = Vec::new();
    let board = Board {
        description: Description {
            name: "fuzzed",
            core: "none",
            tick: TickUnit::Cycles,
            stack_bytes: 4096,
            slots: SLOTS,
        },
        link: Line {
            requests: line,
            replies: &mut replies,
        },
        flash,
        platform: Clock,
        arena: &mut Arena([0xaa; ARENA_BYTES]).0,
        results: &mut [0; 64],
        buffers: &mut Buffers::<MIN_FRAME_BYTES>::new(),
    };
    let Ok(()) = run(board);
    replies
}

struct Line<'a> {
    requests: &'a [u8],
    replies: &'a mut Vec<u8>,
}

impl embedded_io::ErrorType for Line<'_> {
    type Error = Infallible;
}

impl embedded_io::Read for Line<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Ok(count) = self.requests.read(buffer);
        Ok(count)
    }
}

impl embedded_io::Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.replies.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A clock that stands still.
struct Clock;

impl Platform for Clock {
    fn ticks(&mut self) -> u64 {
        0
    }

    fn stack_used(&self) -> u32 {
        0
    }
}
