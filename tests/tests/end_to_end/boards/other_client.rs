//! A client written from `docs/protocol.md` alone, without the types of this project: what the page
//! says is enough to write a model to a board and to run it.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use lowbit_runtime::testing::tiny_model;
use lowbit_tests::run_build;

/// Frames and messages by hand.
struct Client {
    program: Child,
    input: ChildStdin,
    output: ChildStdout,
    sequence: u16,
}

impl Client {
    fn start(program: &Path, state: &Path) -> Self {
        let mut program = Command::new(program)
            .arg("--state")
            .arg(state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        Self {
            input: program.stdin.take().expect("is piped"),
            output: program.stdout.take().expect("is piped"),
            program,
            sequence: 0,
        }
    }

    /// Sends a message and returns the reply's.
    fn ask(&mut self, message: &[u8]) -> Vec<u8> {
        self.sequence += 1;
        let mut plain = self.sequence.to_le_bytes().to_vec();
        plain.extend(message);
        plain.extend(crc32(&plain).to_le_bytes());
        let frame = [&[0], &stuffed(&plain)[..], &[0]].concat();
        self.input.write_all(&frame).expect("is sent");
        let reply = loop {
            let frame = self.frame();
            if !frame.is_empty() {
                break plain_of(&frame);
            }
        };
        let (content, checksum) = reply.split_last_chunk().expect("four bytes");
        assert_eq!(u32::from_le_bytes(*checksum), crc32(content));
        let (sequence, message) = content.split_first_chunk().expect("two bytes");
        assert_eq!(u16::from_le_bytes(*sequence), self.sequence);
        message.to_vec()
    }

    /// The bytes up to the next zero byte.
    fn frame(&mut self) -> Vec<u8> {
        let mut frame = Vec::new();
        loop {
            let mut byte = [0];
            self.output.read_exact(&mut byte).expect("is answered");
            if byte == [0] {
                return frame;
            }
            frame.push(byte[0]);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.program.kill().expect("is there");
        self.program.wait().expect("ends");
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut remainder = u32::MAX;
    for &byte in bytes {
        remainder ^= u32::from(byte);
        for _ in 0..8 {
            let low = remainder & 1;
            remainder = (remainder >> 1) ^ (0xedb8_8320 * low);
        }
    }
    !remainder
}

/// COBS: in front of every run of up to 254 bytes without a zero byte, its length plus one.
fn stuffed(plain: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::new();
    for part in plain.split(|&byte| byte == 0) {
        let mut runs = part.chunks(254).peekable();
        if runs.peek().is_none() {
            stuffed.push(1);
        }
        while let Some(run) = runs.next() {
            stuffed.push(run.len() as u8 + 1);
            stuffed.extend(run);
            if run.len() == 254 && runs.peek().is_none() && !part.is_empty() {
                // The zero byte behind a run of 254 needs a group of its own.
                stuffed.push(1);
            }
        }
    }
    stuffed
}

fn plain_of(stuffed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = stuffed;
    while let Some((&code, after)) = rest.split_first() {
        let (run, after) = after.split_at(usize::from(code) - 1);
        plain.extend(run);
        if code < 255 && !after.is_empty() {
            plain.push(0);
        }
        rest = after;
    }
    plain
}

/// An unsigned number as messages have it.
fn number(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 128 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Takes a number off a message.
fn take_number(message: &mut &[u8]) -> u64 {
    let mut value = 0;
    for place in 0.. {
        let (&byte, rest) = message.split_first().expect("more bytes");
        *message = rest;
        value |= u64::from(byte & 127) << (7 * place);
        if byte < 128 {
            break;
        }
    }
    value
}

fn take_bytes<'a>(message: &mut &'a [u8]) -> &'a [u8] {
    let length = take_number(message) as usize;
    let (bytes, rest) = message.split_at(length);
    *message = rest;
    bytes
}

#[test]
fn the_page_is_enough_to_use_a_board() {
    let program = run_build(&["linux"]).expect("builds");
    let state = tempfile::tempdir().expect("a temporary folder");
    let mut client = Client::start(&program, state.path());

    let reply = client.ask(&[0, 3]);
    let mut hello = &reply[..];
    let [kind, _protocol] = [(); 2].map(|()| take_number(&mut hello));
    let [_runtime, board, _core] = [(); 3].map(|()| take_bytes(&mut hello));
    assert_eq!((kind, board), (0, &b"linux"[..]));
    let [tick, chunk, _ahead] = [(); 3].map(|()| take_number(&mut hello) as usize);
    assert_eq!(tick, 2);
    assert_eq!(hello.last(), Some(&0), "there is no model yet");

    let model = tiny_model(5, 1);
    let begin = [
        &[1][..],
        &number(model.len() as u32),
        &number(crc32(&model)),
    ]
    .concat();
    assert_eq!(client.ask(&begin), [2], "Done");
    for (part, data) in model.chunks(chunk).enumerate() {
        let offset = number((part * chunk) as u32);
        let write = [&[2][..], &offset, &number(data.len() as u32), data].concat();
        assert_eq!(client.ask(&write), [2], "Done");
    }
    let committed = client.ask(&[3]);
    assert_eq!(
        committed[..33],
        [&[3][..], &[1; 32]].concat(),
        "the model's identity"
    );

    assert_eq!(
        client.ask(&[5, 0]),
        [1, 6, 4, 0],
        "Refused: 0 of 4 bytes have come"
    );
    assert_eq!(client.ask(&[4, 0, 4, 10, 20, 30, 40]), [2], "Done");
    let reply = client.ask(&[5, 0]);
    let mut ran = &reply[..];
    assert_eq!(take_number(&mut ran), 4);
    assert!(take_number(&mut ran) > 0, "nanoseconds");
    let (words, _) = take_bytes(&mut ran).as_chunks();
    let logits: Vec<_> = words.iter().map(|word| i32::from_le_bytes(*word)).collect();
    assert_eq!(logits, [10 + 20 + 30 + 40 + 5, 5]);
}

#[test]
fn stuffing_can_be_taken_back() {
    for length in [0, 1, 253, 254, 255, 508, 509, 600] {
        for zero in [None, Some(0), Some(length / 2), Some(length)] {
            let mut plain = vec![7; length];
            plain.extend(zero.map(|_| 0));
            if let Some(zero) = zero {
                plain.rotate_right(length - zero);
            }
            let stuffed = stuffed(&plain);
            assert!(!stuffed.contains(&0));
            assert_eq!(plain_of(&stuffed), plain, "{length}, {zero:?}");
        }
    }
}
