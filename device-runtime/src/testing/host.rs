//! A host that writes its requests in advance and reads the replies afterwards.

use alloc::vec::Vec;
use core::convert::Infallible;

use super::memory_flash::MemoryFlash;
use crate::format::CHECKSUM;
use crate::protocol::{
    FRAME_BYTES, FrameReader, MIN_FRAME_BYTES, ModelInfo, Reply, Request, SensorFault, SensorInput,
    TickUnit, chunk_bytes, encode,
};
use crate::service::{Board, Buffers, Description, Platform, Position, Sensor, run};

/// Bytes of data per message with the board's buffers.
pub const CHUNK: usize = chunk_bytes(MIN_FRAME_BYTES);
/// Bytes of the board's arena.
pub const ARENA_BYTES: usize = 112;

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

/// A clock that advances by 10 microseconds whenever it is read, and a sensor.
#[derive(Default)]
struct TestPlatform {
    ticks: u64,
    stream: Stream,
}

impl Platform for TestPlatform {
    fn ticks(&mut self) -> u64 {
        self.ticks += 10;
        self.ticks
    }

    fn ticks_per_second(&self) -> u64 {
        1_000_000
    }

    fn stack_used(&self) -> u32 {
        1234
    }

    fn sensor(&mut self) -> Option<&mut dyn Sensor> {
        Some(&mut self.stream)
    }
}

/// Inputs that the board's sensor gives.
pub const SENSED: u32 = 40;

/// The pixels of input `index` of the board's sensor.
#[must_use]
pub fn sensed(index: u32) -> [u8; 4] {
    let dark = index.is_multiple_of(2);
    [20, 45, 70, 90].map(|value| if dark { 70 + value } else { 130 + value })
}

/// A recorded stream.
#[derive(Default)]
struct Stream(Position);

impl Sensor for Stream {
    fn sense(
        &mut self,
        input: SensorInput,
        _: [u16; 3],
        pixels: &mut [u8],
    ) -> Result<Option<u32>, SensorFault> {
        let (index, left) = self.0.advance(input, SENSED)?;
        let expected = pixels.len() as u32;
        let pixels = pixels.first_chunk_mut();
        *pixels.ok_or(SensorFault::Size { expected })? = sensed(index);
        Ok(Some(left))
    }
}

#[repr(align(8))]
struct Arena([u8; ARENA_BYTES]);

/// Starts a board with `slots` slots, sends it `line` and returns what it sends.
pub fn exchange(flash: &mut MemoryFlash, slots: u8, line: &[u8]) -> Vec<u8> {
    let mut replies = Vec::new();
    let board = Board {
        description: Description {
            name: "test",
            core: "none",
            tick: TickUnit::Cycles,
            stack_bytes: 4096,
            slots,
            ahead_bytes: 4096,
        },
        link: Line {
            requests: line,
            replies: &mut replies,
        },
        flash,
        platform: TestPlatform::default(),
        arena: &mut Arena([0xaa; ARENA_BYTES]).0,
        results: &mut [0; 64],
        buffers: &mut Buffers::<MIN_FRAME_BYTES>::new(),
    };
    let Ok(()) = run(board);
    replies
}

/// A message as it goes over the line.
pub fn frame(sequence: u16, message: &impl serde::Serialize) -> Vec<u8> {
    let (mut plain, mut frame) = ([0; FRAME_BYTES], [0; FRAME_BYTES]);
    let length = encode(sequence, message, &mut plain, &mut frame).expect("fits");
    frame[..length].to_vec()
}

/// Starts a board, sends the requests with rising numbers and hands each reply to `check`.
pub fn converse(
    flash: &mut MemoryFlash,
    slots: u8,
    requests: &[Request<'_>],
    mut check: impl FnMut(usize, Reply<'_>),
) {
    let frames = (1..)
        .zip(requests)
        .map(|(number, request)| frame(number, request));
    let line: Vec<u8> = frames.flatten().collect();
    let replies = exchange(flash, slots, &line);
    let mut buffer = [0; FRAME_BYTES];
    let mut reader = FrameReader::new(&mut buffer);
    let mut answered = 0;
    for byte in replies {
        if let Some(received) = reader.push(byte) {
            let frame = received.expect("a whole frame");
            assert_eq!(usize::from(frame.sequence), answered + 1);
            check(
                answered,
                postcard::from_bytes(frame.message).expect("a reply"),
            );
            answered += 1;
        }
    }
    assert_eq!(answered, requests.len(), "one reply per request");
}

/// The requests that write `model`.
pub fn flash_requests(model: &[u8]) -> Vec<Request<'_>> {
    let begin = Request::FlashBegin {
        length: model.len() as u32,
        checksum: CHECKSUM.checksum(model),
    };
    let parts = model.chunks(CHUNK).enumerate();
    let writes = parts.map(|(part, data)| Request::FlashWrite {
        offset: (part * CHUNK) as u32,
        data,
    });
    core::iter::once(begin)
        .chain(writes)
        .chain([Request::FlashCommit])
        .collect()
}

/// The generation of the model that a freshly started board uses.
pub fn generation(flash: &mut MemoryFlash, slots: u8) -> Option<u32> {
    model(flash, slots).map(|model| model.generation)
}

/// The model that a freshly started board uses.
pub fn model(flash: &mut MemoryFlash, slots: u8) -> Option<ModelInfo> {
    let mut found = None;
    converse(
        flash,
        slots,
        &[Request::Hello { protocol: 1 }],
        |_, reply| {
            let Reply::Hello(hello) = reply else {
                panic!("{reply:?}");
            };
            found = hello.model;
        },
    );
    found
}
