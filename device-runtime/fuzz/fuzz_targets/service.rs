//! Any messages to a board whose power may fail at any byte that it writes: it goes on, and after a
//! restart it has a model if it had one before.
//!
//! ```text
//! input  0  bytes of flash that can be changed before the power fails, u16; all ones: it does not
//!        2  messages: a length, then as many bytes, an encoded request or not
//! ```
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use lowbit_runtime::testing::calibratable_model;
use lowbit_runtime::testing::host::{converse, exchange, flash_requests, frame, model};
use lowbit_runtime::testing::memory_flash::MemoryFlash;
use serde::ser::{Serialize, SerializeTuple, Serializer};

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
    flash.power = match power {
        u16::MAX => usize::MAX,
        power => power.into(),
    };
    exchange(&mut flash, SLOTS, &line);
    flash.power = usize::MAX;
    assert!(model(&mut flash, SLOTS).is_some());
});

fn with_model() -> MemoryFlash {
    let mut flash = MemoryFlash::new();
    let packed = calibratable_model(7);
    converse(&mut flash, SLOTS, &flash_requests(&packed), |_, _| ());
    assert!(model(&mut flash, SLOTS).is_some());
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
