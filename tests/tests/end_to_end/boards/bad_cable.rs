//! `flash` and `verify` over a line that drops, flips, duplicates, delays and splits, with real
//! firmware at its end.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use lowbit_host::board::transport::Transport;
use lowbit_host::board::{Client, Error, Options, Settings, verify};
use lowbit_host::data::Dataset;
use lowbit_tests::{Emulator, Faults, FaultyLine, Per, noise_images, random_network};

const BOARD: &str = "b-l475e-iot01a";
/// When everything is over, one way or the other.
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// Puts `model` on the board and verifies it, over a line with faults. Says whether that was
/// possible, and what happened on the line.
fn flash_and_verify(
    line: FaultyLine<impl Transport + 'static>,
    model: Vec<u8>,
    images: Dataset,
) -> (Result<(), Error>, Faults) {
    let faults = line.faults();
    let settings = Settings {
        timeout: Duration::from_secs(3),
        long_timeout: Duration::from_secs(10),
        interrupted: None,
    };
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let result = Client::connect(Box::new(line), settings).and_then(|mut client| {
            client.flash(&model, &mut |_| {})?;
            let options = Options { layers: true };
            verify(&mut client, &model, &images, options, &mut |_| {})
        });
        // Nobody listens any more when the time is over.
        let _ = sender.send(result);
    });
    let result = receiver.recv_timeout(TIME_LIMIT).expect("ends in time");
    let result = result.map(|verdict| assert!(verdict.is_equal(), "{verdict:?}"));
    let faults = *faults.lock().expect("not poisoned");
    (result, faults)
}

#[test]
fn faulty_frames_delay_but_change_nothing() {
    let name = "faulty_frames_delay_but_change_nothing";
    let Some(emulator) = Emulator::new(name, BOARD) else {
        return;
    };
    for (rate, bits) in [(0.01, 4), (0.05, 3)] {
        let line = FaultyLine::new(emulator.start(), Per::Frame, rate, 11);
        let model = random_network("resnet8", bits);
        let (result, faults) = flash_and_verify(line, model, noise_images(10));
        result.unwrap_or_else(|error| panic!("at {rate}: {error}; {faults:?}"));
        assert!(
            faults.damage() > 0 && faults.delayed > 0 && faults.split > 0,
            "{faults:?}"
        );
    }
}

/// At such rates no long frame arrives: what matters is that the end is a clear one, and that the
/// board still works.
#[test]
fn faulty_bytes_end_in_the_right_result_or_in_an_error() {
    let name = "faulty_bytes_end_in_the_right_result_or_in_an_error";
    let Some(emulator) = Emulator::new(name, BOARD) else {
        return;
    };
    let [kept, other] = [4, 3].map(|bits| random_network("resnet8", bits));
    let before = emulator
        .connect()
        .flash(&kept, &mut |_| {})
        .expect("is taken");
    for (rate, seed) in [(0.01, 1), (0.01, 2), (0.05, 3), (0.05, 4)] {
        let line = FaultyLine::new(emulator.start(), Per::Byte, rate, seed);
        let (result, faults) = flash_and_verify(line, other.clone(), noise_images(2));
        let client = emulator.connect();
        match result {
            Ok(()) => {}
            Err(Error::Silent { .. } | Error::Garbage { .. }) => {
                assert_eq!(client.greeting().model, Some(before));
            }
            Err(error) => panic!("at {rate}: {error}; {faults:?}"),
        }
    }
    let mut client = emulator.connect();
    client.flash(&other, &mut |_| {}).expect("is taken");
}
