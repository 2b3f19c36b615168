//! Any bytes on the line, at either end: dropped, or messages that another frame carries unchanged.
//! Checksums are not compared in a fuzzer's build.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lowbit_runtime::protocol::{FRAME_BYTES, FrameReader, Reply, Request, encode};

fuzz_target!(|data: &[u8]| {
    let mut buffer = [0; FRAME_BYTES];
    let mut reader = FrameReader::new(&mut buffer);
    for &byte in data {
        let Some(Ok(frame)) = reader.push(byte) else {
            continue;
        };
        if let Ok(request) = postcard::from_bytes::<Request<'_>>(frame.message) {
            carry(frame.sequence, &request, |message| {
                assert_eq!(postcard::from_bytes(message), Ok(request));
            });
        }
        if let Ok(reply) = postcard::from_bytes::<Reply<'_>>(frame.message) {
            carry(frame.sequence, &reply, |message| {
                assert_eq!(postcard::from_bytes(message), Ok(reply));
            });
        }
    }
});

/// Sends a message that has arrived once more. It is no longer than it was.
fn carry(sequence: u16, message: &impl serde::Serialize, arrived: impl FnOnce(&[u8])) {
    let (mut plain, mut line) = ([0; FRAME_BYTES], [0; FRAME_BYTES]);
    let length = encode(sequence, message, &mut plain, &mut line).expect("fits");
    let mut buffer = [0; FRAME_BYTES];
    let mut reader = FrameReader::new(&mut buffer);
    let (last, others) = line[..length].split_last().expect("ends with a zero byte");
    assert!(others.iter().all(|&byte| reader.push(byte).is_none()));
    let frame = reader.push(*last).expect("is whole").expect("is sound");
    assert_eq!(frame.sequence, sequence);
    arrived(frame.message);
}
