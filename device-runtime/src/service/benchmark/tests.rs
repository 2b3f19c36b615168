use std::prelude::v1::*;

use crate::testing::calibratable_model;
use crate::testing::host::{converse, exchange, flash_requests, frame};
use crate::testing::memory_flash::MemoryFlash;
use crate::testing::tiny_model;

use super::*;
use crate::protocol::Request;

const SLOTS: u8 = 2;

/// Lines with which a board that holds `packed` answers `line`.
fn answers_of(packed: &[u8], line: &[u8]) -> Vec<String> {
    let mut flash = MemoryFlash::new();
    converse(&mut flash, SLOTS, &flash_requests(packed), |_, _| ());
    let replies = exchange(&mut flash, SLOTS, line);
    let text = String::from_utf8(replies).expect("is text");
    let lines = text.split_terminator("\r\n").map(str::to_owned);
    lines.collect()
}

fn answers(line: &str) -> Vec<String> {
    answers_of(&tiny_model(5, 1), line.as_bytes())
}

/// The only line before `m-ready`.
fn answer(line: &str) -> String {
    let lines = answers(line);
    let [line, ready] = lines.as_slice() else {
        panic!("{lines:?}");
    };
    assert_eq!(ready, "m-ready");
    line.clone()
}

#[test]
fn a_runner_gets_what_it_waits_for() {
    assert_eq!(answer("name%"), "m-name-dut-[test]");
    assert_eq!(answer("timestamp%"), "m-lap-us-10");
    assert_eq!(
        answers("profile%"),
        [
            "m-profile-[ULPMark for tinyML Firmware V0.0.1]",
            "m-model-[custom]",
            "m-ready",
        ]
    );
    let line = "db load 4%db 0a14%db 1E28%db print 3 1%infer 2 1%results%";
    let expected = [
        "m-[Expecting 4 bytes]",
        "m-ready",
        "m-ready",
        "m-load-done",
        "m-ready",
        "m-buffer-14-1e-28",
        "m-ready",
        "m-warmup-start-1",
        "m-warmup-done",
        "m-infer-start-2",
        "m-lap-us-30",
        "m-lap-us-80",
        "m-infer-done",
        // The logits are 105 and 5 in 2^-16.
        "m-results-[0.500,0.500]",
        "m-ready",
        "m-results-[0.500,0.500]",
        "m-ready",
    ];
    assert_eq!(answers(line), expected);
    assert_eq!(answers("help%").len(), HELP.lines().count() + 1);
    assert_eq!(answers("%"), ["m-ready"]);
}

#[test]
fn what_cannot_be_done_is_said() {
    for (line, words) in [
        ("nonsense%", "e-[Unknown command]"),
        ("db%", "e-[Command 'db' requires a subcommand]"),
        ("db load%", "e-['db load' must be a number >0]"),
        ("db load 0%", "e-['db load' must be a number >0]"),
        ("db load 99999999999%", "e-['db load' must be a number >0]"),
        ("db load 5%", "e-[5 bytes of input, the model reads 4]"),
        ("db 00%", "e-['db load' must be a number >0]"),
        ("db 0%", "e-[Insufficient number of hex digits]"),
        ("infer 0%", "e-[Inference iterations must be a number >0]"),
        ("infer x%", "e-[Inference iterations must be a number >0]"),
        ("infer 1 -1%", "e-[Inference warmup must be a number >0]"),
        ("infer 1 1%", "e-[0 bytes of input, the model reads 4]"),
        ("results%", "e-[No inference has been run]"),
    ] {
        assert_eq!(answer(line), words, "{line}");
    }
    assert_eq!(
        answer(&format!("db {}%", "0".repeat(78))),
        "e-[More than 80 characters]"
    );
    assert_eq!(answers("db load 4%db 0x%")[2], "e-[Invalid hex digit 'x']");
    let mut flash = MemoryFlash::new();
    let replies = exchange(&mut flash, SLOTS, b"db load 4%profile%");
    let text = String::from_utf8(replies).expect("is text");
    assert!(text.starts_with("e-[No model]"), "{text}");
    assert!(text.contains("m-model-[none]"), "{text}");
}

#[test]
fn bytes_behind_the_end_of_the_input_are_ignored() {
    let lines = answers("db load 4%db 0102030405%db print%");
    assert_eq!(
        lines[2..],
        ["m-load-done", "m-ready", "m-buffer-01-02-03-04", "m-ready"]
    );
}

#[test]
fn a_model_without_room_beside_it_is_told() {
    let packed = calibratable_model(7);
    let bytes = Model::new_checked(&packed)
        .expect("is a model")
        .pixel_bytes();
    let line = format!("db load {bytes}%");
    let first = &answers_of(&packed, line.as_bytes())[0];
    assert!(
        first.starts_with("m-[Expecting") || first.starts_with("e-[No memory"),
        "{first}"
    );
}

#[test]
fn frames_and_noise_are_no_commands() {
    let mut flash = MemoryFlash::new();
    // From the zero byte in front of a frame on, nothing is text any more.
    let hello = frame(u16::from_le_bytes(*b"%%"), &Request::Hello { protocol: 37 });
    let line = [&[0], &hello[..], b"name%"].concat();
    let replies = exchange(&mut flash, SLOTS, &line);
    let text = String::from_utf8_lossy(&replies);
    assert!(!text.contains("m-") && !text.contains("e-["), "{text}");
    let replies = exchange(&mut flash, SLOTS, b"\xffname%name%");
    assert_eq!(replies, b"m-name-dut-[test]\r\nm-ready\r\n");
}
