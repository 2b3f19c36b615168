//! The host's end of the protocol against the firmware's service in this process, over good and
//! bad lines.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lowbit_host::board::transport::{InProcess, Transport, TransportError};
use lowbit_host::board::{BoardSpec, Client, Error, Options, Registry, Settings, Verdict, verify};
use lowbit_host::data::Dataset;
use lowbit_runtime::protocol::{
    FRAME_BYTES, FrameReader, HelloReply, PROTOCOL_VERSION, Reply, Request, TickUnit, encode,
};
use lowbit_runtime::testing::{PIXELS, tiny_model};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn board() -> BoardSpec {
    let registry = Registry::embedded().expect("descriptions parse");
    registry.find("mps2-an386").expect("is there").clone()
}

fn impatient() -> Settings {
    Settings {
        timeout: Duration::from_millis(500),
        long_timeout: Duration::from_secs(2),
        interrupted: None,
    }
}

fn connect(transport: impl Transport + 'static) -> Result<Client, Error> {
    Client::connect(Box::new(transport), impatient())
}

fn images(count: usize) -> Dataset {
    Dataset {
        name: "test".into(),
        shape: [2, 2, 1],
        classes: 2,
        pixels: (0..count * PIXELS)
            .map(|index| (37 * index) as u8)
            .collect(),
        labels: (0..count).map(|index| u16::from(index % 4 == 0)).collect(),
    }
}

/// Puts `on_board` on a fresh board and verifies it against `on_host`.
fn verify_against(on_board: &[u8], on_host: &[u8], options: Options) -> Result<Verdict, Error> {
    let mut client = Client::connect(Box::new(InProcess::start(&board())), Settings::default())?;
    client.flash(on_board, &mut |_| {})?;
    verify(&mut client, on_host, &images(8), options, &mut |_| {})
}

#[test]
fn the_service_says_what_it_is_and_takes_a_model() {
    let mut client = connect(InProcess::start(&board())).expect("connects");
    let greeting = client.greeting();
    assert_eq!(
        (greeting.board.as_str(), greeting.model),
        ("in-process", None)
    );
    assert_eq!(greeting.arena_bytes, board().memory.arena.bytes);
    let model = tiny_model(3, 1);
    let mut arrived = Vec::new();
    let info = client
        .flash(&model, &mut |bytes| arrived.push(bytes))
        .expect("is taken");
    assert_eq!(info.identity, [1; 32]);
    assert_eq!(arrived.last(), Some(&model.len()));
    client
        .flash(&model, &mut |_| panic!("is there already"))
        .expect("nothing to do");
    let (inference, digests) = client.infer_with_digests(&[1, 2, 3, 4]).expect("runs");
    assert_eq!(
        (inference.logits.as_slice(), digests.len()),
        (&[13, 3][..], 2)
    );
    let values = client.read_layer(&[1, 2, 3, 4], 0).expect("runs");
    assert_eq!(values, [1, 0, 2, 0, 3, 0, 4, 0]);
}

#[test]
fn the_same_model_is_equal_everywhere() {
    let model = tiny_model(5, 1);
    for layers in [false, true] {
        let verdict = verify_against(&model, &model, Options { layers }).expect("runs");
        assert!(verdict.is_equal(), "{verdict:?}");
        assert_eq!((verdict.images, verdict.agreement), (8, 1.0));
        assert_eq!((verdict.quantized_top1, verdict.board_top1), (75.0, 75.0));
        assert_eq!(verdict.arena_bytes, 32);
    }
}

#[test]
fn a_difference_is_named() {
    for layers in [false, true] {
        let verdict = verify_against(&tiny_model(5, 1), &tiny_model(6, 1), Options { layers });
        let verdict = verdict.expect("runs");
        assert_eq!(verdict.agreement, 0.0);
        let difference = verdict.first_difference.expect("all images differ");
        let sum = (0..4).map(|index| 37 * index).sum::<i32>();
        assert_eq!(
            difference.to_string(),
            format!(
                "image 0, layer `output`, channel 0, y 0, x 0: host {}, board {}",
                sum + 6,
                sum + 5
            )
        );
    }
}

#[test]
fn another_model_is_no_basis() {
    let error = verify_against(&tiny_model(0, 1), &tiny_model(0, 2), Options::default());
    let shown = error.expect_err("other identity").to_string();
    assert_eq!(
        shown,
        "the board has model 010101010101 instead of model 020202020202"
    );
}

#[test]
fn images_of_another_size_are_refused() {
    let mut client = connect(InProcess::start(&board())).expect("connects");
    let model = tiny_model(0, 1);
    client.flash(&model, &mut |_| {}).expect("is taken");
    let mut larger = images(2);
    (larger.shape, larger.pixels) = ([3, 3, 1], vec![0; 18]);
    let error = verify(
        &mut client,
        &model,
        &larger,
        Options::default(),
        &mut |_| {},
    );
    let shown = error.expect_err("too large").to_string();
    assert_eq!(shown, "an image of 9 bytes was given, the network reads 4");
}

/// Counts what is sent.
struct Counting<T>(T, Arc<AtomicUsize>);

impl<T: Transport> Transport for Counting<T> {
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.send(bytes)
    }

    fn receive(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, TransportError> {
        self.0.receive(timeout)
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

#[test]
fn a_model_that_does_not_fit_is_refused_before_anything_is_sent() {
    let mut small_arena = board();
    small_arena.memory.arena.bytes = 24;
    let mut small_flash = board();
    small_flash.memory.models.bytes = 1;
    small_flash.limits.slots = 8;
    let model = tiny_model(0, 1);
    let cases = [
        (
            small_arena,
            "needs an arena of 32 bytes, `in-process` has 24: 8 bytes too many",
        ),
        (small_flash, "slot of `in-process` holds 0"),
    ];
    for (board, expected) in cases {
        let sent = Arc::new(AtomicUsize::new(0));
        let transport = Counting(InProcess::start(&board), Arc::clone(&sent));
        let mut client = connect(transport).expect("connects");
        assert_eq!(sent.load(Ordering::Relaxed), 1);
        let error = client.flash(&model, &mut |_| {}).expect_err("does not fit");
        assert!(error.does_not_fit());
        let shown = error.to_string();
        assert!(
            shown.contains(expected) && shown.contains("largest part: `"),
            "{shown}"
        );
        assert_eq!(sent.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn a_damaged_model_is_refused_before_anything_is_sent() {
    let mut client = connect(InProcess::start(&board())).expect("connects");
    let mut model = tiny_model(0, 1);
    model[100] ^= 4;
    let error = client.flash(&model, &mut |_| {}).expect_err("damaged");
    assert!(matches!(error, Error::Network(_)), "{error}");
}

/// A line whose other end says the same thing again and again.
struct Babbling(Option<Vec<u8>>);

impl Transport for Babbling {
    fn send(&mut self, _: &[u8]) -> Result<(), TransportError> {
        Ok(())
    }

    fn receive(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, TransportError> {
        std::thread::sleep(timeout.min(Duration::from_millis(1)));
        Ok(self.0.clone())
    }

    fn describe(&self) -> String {
        "the test".into()
    }
}

#[test]
fn a_silent_board_is_given_up() {
    let shown = connect(Babbling(None)).expect_err("silent").to_string();
    assert!(shown.starts_with("the test does not answer"), "{shown}");
}

#[test]
fn garbage_is_given_up() {
    let garbage = b"Booting ... ok\r\n\0".to_vec();
    let shown = connect(Babbling(Some(garbage)))
        .expect_err("no frames")
        .to_string();
    assert!(
        shown.starts_with("the test answers hello with garbage"),
        "{shown}"
    );
}

/// A line whose other end gives the same answer to everything.
struct Answering {
    reply: Reply<'static>,
    sequence: u16,
}

impl Transport for Answering {
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        let mut memory = [0; FRAME_BYTES];
        let mut reader = FrameReader::new(&mut memory);
        for &byte in bytes {
            if let Some(frame) = reader.push(byte) {
                self.sequence = frame.expect("is whole").sequence;
            }
        }
        Ok(())
    }

    fn receive(&mut self, _: Duration) -> Result<Option<Vec<u8>>, TransportError> {
        let (mut plain, mut frame) = ([0; FRAME_BYTES], [0; FRAME_BYTES]);
        let length = encode(self.sequence, &self.reply, &mut plain, &mut frame).expect("fits");
        Ok(Some(frame[..length].to_vec()))
    }

    fn describe(&self) -> String {
        "the test".into()
    }
}

#[test]
fn another_protocol_is_named_with_both_versions() {
    let hello = Reply::Hello(HelloReply {
        protocol: 9,
        runtime: "9.8.7",
        board: "later",
        core: "later",
        tick: TickUnit::Cycles,
        chunk_bytes: 64,
        ahead_bytes: 0,
        arena_bytes: 0,
        stack_bytes: 0,
        slots: 1,
        slot_bytes: 0,
        model: None,
    });
    let line = Answering {
        reply: hello,
        sequence: 0,
    };
    let error = connect(line).expect_err("other version");
    assert_eq!(
        error.to_string(),
        format!(
            "the board speaks protocol 9 (runtime 9.8.7), this program protocol {PROTOCOL_VERSION} (runtime {}): \
             update the program",
            lowbit_runtime::VERSION
        )
    );
}

#[test]
fn a_wish_to_stop_is_heard_while_waiting() {
    let settings = Settings {
        interrupted: Some(Arc::new(AtomicBool::new(true))),
        timeout: Duration::from_secs(600),
        ..Settings::default()
    };
    let error = Client::connect(Box::new(Babbling(None)), settings).expect_err("stops");
    assert!(matches!(error, Error::Interrupted), "{error}");
}

/// A line that loses, cuts and damages what it carries, one frame in `period`, in both directions.
struct BadCable {
    inner: InProcess,
    random: ChaCha8Rng,
    period: u32,
    damaged: Arc<Mutex<[usize; 3]>>,
}

impl BadCable {
    fn carry(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes.is_empty() || !self.random.random_ratio(1, self.period) {
            return bytes;
        }
        let kind = self.random.random_range(0..3);
        self.damaged.lock().expect("not poisoned")[kind] += 1;
        let place = self.random.random_range(0..bytes.len());
        match kind {
            0 => bytes.clear(),
            1 => bytes.truncate(place),
            _ => bytes[place] ^= 1 << (self.random.next_u32() % 8),
        }
        bytes
    }
}

impl Transport for BadCable {
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        let carried = self.carry(bytes.to_vec());
        if carried.is_empty() {
            return Ok(());
        }
        self.inner.send(&carried)
    }

    fn receive(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, TransportError> {
        let received = self.inner.receive(timeout)?;
        Ok(received.map(|bytes| self.carry(bytes)))
    }

    fn describe(&self) -> String {
        "a bad cable".into()
    }
}

#[test]
fn a_bad_cable_delays_but_changes_nothing() {
    let damaged = Arc::new(Mutex::new([0; 3]));
    let transport = BadCable {
        inner: InProcess::start(&board()),
        random: ChaCha8Rng::seed_from_u64(7),
        period: 6,
        damaged: Arc::clone(&damaged),
    };
    let settings = Settings {
        timeout: Duration::from_secs(5),
        long_timeout: Duration::from_secs(5),
        interrupted: None,
    };
    let mut client = Client::connect(Box::new(transport), settings).expect("connects");
    for round in 0..10 {
        let model = tiny_model(round, round as u8);
        let info = client.flash(&model, &mut |_| {}).expect("is taken");
        assert_eq!(info.generation, round as u32);
        let verdict = verify(
            &mut client,
            &model,
            &images(4),
            Options { layers: true },
            &mut |_| {},
        );
        assert_eq!(verdict.expect("runs").agreement, 1.0);
    }
    let damaged = *damaged.lock().expect("not poisoned");
    assert!(damaged.iter().all(|&count| count > 5), "{damaged:?}");
}

/// What has passed a line, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passed {
    Pixels,
    Run,
    Ran,
    Other,
}

/// A line that notes what passes it and loses one frame in one direction.
struct Watched {
    inner: InProcess,
    passed: Arc<Mutex<Vec<Passed>>>,
    /// How many requests and replies pass before one is lost.
    lost: [Option<usize>; 2],
}

impl Watched {
    fn new(lost: [Option<usize>; 2]) -> Self {
        Self {
            inner: InProcess::start(&board()),
            passed: Arc::default(),
            lost,
        }
    }

    /// Notes the frames in `bytes`, and says whether they are to be lost.
    fn pass(&mut self, bytes: &[u8], is_reply: bool) -> bool {
        let mut memory = [0; FRAME_BYTES];
        let mut reader = FrameReader::new(&mut memory);
        for &byte in bytes {
            let Some(frame) = reader.push(byte) else {
                continue;
            };
            let message = frame.expect("is whole").message;
            let passed = match is_reply {
                true => match postcard::from_bytes(message).expect("is a reply") {
                    Reply::Ran { .. } => Passed::Ran,
                    _ => Passed::Other,
                },
                false => match postcard::from_bytes(message).expect("is a request") {
                    Request::Input { .. } => Passed::Pixels,
                    Request::Run { .. } => Passed::Run,
                    _ => Passed::Other,
                },
            };
            self.passed.lock().expect("not poisoned").push(passed);
            let lost = &mut self.lost[usize::from(is_reply)];
            *lost = match *lost {
                Some(0) => {
                    *lost = None;
                    return true;
                }
                lost => lost.map(|left| left - 1),
            };
        }
        false
    }
}

impl Transport for Watched {
    fn send(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        match self.pass(bytes, false) {
            true => Ok(()),
            false => self.inner.send(bytes),
        }
    }

    fn receive(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, TransportError> {
        let received = self.inner.receive(timeout)?;
        Ok(received.filter(|bytes| !self.pass(bytes, true)))
    }

    fn describe(&self) -> String {
        "the test".into()
    }
}

#[test]
fn the_next_images_travel_while_the_board_computes() {
    let line = Watched::new([None, None]);
    let passed = Arc::clone(&line.passed);
    let mut client = connect(line).expect("connects");
    let model = tiny_model(3, 1);
    client.flash(&model, &mut |_| {}).expect("is taken");
    passed.lock().expect("not poisoned").clear();
    let options = Options::default();
    let verdict = verify(&mut client, &model, &images(4), options, &mut |_| {});
    assert!(verdict.expect("runs").is_equal());
    let passed = passed.lock().expect("not poisoned");
    let requests = |passed: &Passed| matches!(passed, Passed::Pixels | Passed::Run);
    let second = passed.iter().position(|&passed| passed == Passed::Ran);
    let after = &passed[second.expect("the first image") + 1..];
    let ahead: Vec<_> = after.iter().copied().take_while(requests).collect();
    assert_eq!(ahead, [[Passed::Pixels, Passed::Run]; 3].as_flattened());
}

#[test]
fn any_frame_may_be_lost_and_no_result_is_wrong() {
    let model = tiny_model(3, 1);
    let verdict = |lost| {
        let mut client = connect(Watched::new(lost)).expect("connects");
        client.flash(&model, &mut |_| {}).expect("is taken");
        let options = Options { layers: true };
        let verdict = verify(&mut client, &model, &images(6), options, &mut |_| {}).expect("runs");
        (verdict.is_equal(), verdict.images, verdict.confusion)
    };
    let whole = verdict([None, None]);
    assert_eq!((whole.0, whole.1), (true, 6));
    // The first frames belong to the model, three to every image.
    for place in 5..5 + 3 * 6 {
        assert_eq!(verdict([Some(place), None]), whole, "request {place}");
        assert_eq!(verdict([None, Some(place)]), whole, "reply {place}");
    }
}
