//! Any text to a board that listens to the benchmark of MLPerf Tiny: every answer is lines of text,
//! the last of which is `m-ready`.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use lowbit_runtime::testing::calibratable_model;
use lowbit_runtime::testing::host::{converse, exchange, flash_requests};
use lowbit_runtime::testing::memory_flash::MemoryFlash;

const SLOTS: u8 = 2;
/// A board computes as often as it is told: above this a run would take too long.
const MOST_DIGITS: usize = 1;

fuzz_target!(|data: &[u8]| {
    if data.split(|&byte| byte == b'%').any(takes_long) {
        return;
    }
    static WITH_MODEL: OnceLock<MemoryFlash> = OnceLock::new();
    let mut flash = WITH_MODEL.get_or_init(with_model).clone();
    let replies = exchange(&mut flash, SLOTS, data);
    // Behind a zero byte frames are answered.
    if !data.contains(&0) {
        let text = String::from_utf8(replies).expect("text");
        assert!(text.is_empty() || text.ends_with("m-ready\r\n"), "{text}");
    }
});

/// Whether a command asks for many inferences.
fn takes_long(command: &[u8]) -> bool {
    // As the board reads it: without the ends of lines.
    let characters = command.iter().filter(|byte| !b"\r\n".contains(byte));
    let characters = characters.copied().collect::<Vec<_>>();
    let mut words = characters.split(u8::is_ascii_whitespace);
    words.find(|word| !word.is_empty()) == Some(b"infer")
        && words.any(|word| word.len() > MOST_DIGITS)
}

fn with_model() -> MemoryFlash {
    let mut flash = MemoryFlash::new();
    let packed = calibratable_model(7);
    converse(&mut flash, SLOTS, &flash_requests(&packed), |_, _| ());
    flash
}
