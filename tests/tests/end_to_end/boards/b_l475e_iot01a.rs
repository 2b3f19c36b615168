//! The firmware of b-l475e-iot01a under QEMU: a trained network within the memory of a real board,
//! and power that fails.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use lowbit_host::board::transport::TransportError;
use lowbit_host::board::{Client, Error, ModelInfo, Options, Region, Settings, verify};
use lowbit_host::data::{Dataset, Source};
use lowbit_host::{lower, pack};
use lowbit_runtime::testing::tiny_model;
use lowbit_tests::{Emulator, Signal, quantized_resnet20, signal};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const BOARD: &str = "b-l475e-iot01a";

/// The trained ResNet-20, packed with `bits` everywhere.
fn resnet20(weights: &Path, bits: u8) -> Vec<u8> {
    let network = quantized_resnet20(weights, bits);
    let program = lower::lower(&network, &lower::Options::default()).expect("lowers");
    pack::pack(&program, &[]).expect("packs")
}

fn assert_equal(client: &mut Client, model: &[u8], images: &Dataset) {
    let options = Options::default();
    let verdict = verify(client, model, images, options, &mut |_| {}).expect("runs");
    assert!(verdict.is_equal(), "{verdict:?}");
    assert_eq!(verdict.images, images.len());
}

#[test]
fn a_resnet_runs_in_the_memory_of_the_chip_and_survives_a_power_cut() {
    let name = "a_resnet_runs_in_the_memory_of_the_chip_and_survives_a_power_cut";
    let Some(weights) = lowbit_tests::data(name, "cifar10_resnet20.safetensors") else {
        return;
    };
    let Some(images) = lowbit_tests::data(name, "cifar10_test.bin") else {
        return;
    };
    let Some(emulator) = Emulator::new(name, BOARD) else {
        return;
    };
    let memory = &emulator.board.memory;
    let end = |region: Region| region.origin + region.bytes;
    assert_eq!(
        (memory.firmware.expect("is one").origin, end(memory.models)),
        (0x0800_0000, 0x0810_0000)
    );
    assert_eq!(
        (memory.arena.origin, memory.arena.bytes),
        (0x2000_0000, 96 * 1024)
    );
    assert_eq!(
        (
            memory.stack.expect("is one").origin,
            end(memory.data.expect("is one"))
        ),
        (0x1000_0000, 0x1000_8000)
    );

    let images = Source::Cifar10(images).load().expect("loads").take(100);
    let [old, new] = [4, 3].map(|bits| resnet20(&weights, bits));
    let mut client = emulator.connect();
    let kept = client.flash(&old, &mut |_| {}).expect("is taken");
    assert_equal(&mut client, &old, &images);
    drop(client);

    let process = emulator.start();
    let id = process.id();
    let mut client = Client::connect(Box::new(process), Settings::default()).expect("answers");
    let killed = client.flash(&new, &mut |written| {
        if written > new.len() / 2 {
            signal(id, Signal::KILL);
        }
    });
    let error = killed.expect_err("the board is gone");
    assert!(
        matches!(error, Error::Transport(TransportError::Closed { .. })),
        "{error}"
    );
    drop(client);

    let mut client = emulator.connect();
    assert_eq!(client.greeting().model, Some(kept));
    assert_equal(&mut client, &old, &images.clone().take(2));
    client.flash(&new, &mut |_| {}).expect("is taken");
    assert_equal(&mut client, &new, &images.take(2));
}

/// Updates the board and kills it after `delay`; returns what it said of the new model, if it got
/// that far.
fn update_until(emulator: &Emulator, model: &[u8], delay: Duration) -> Option<ModelInfo> {
    let process = emulator.start();
    let id = process.id();
    let mut client = Client::connect(Box::new(process), Settings::default()).expect("answers");
    let killer = thread::spawn(move || {
        thread::sleep(delay);
        signal(id, Signal::KILL);
    });
    let updated = client.flash(model, &mut |_| {}).ok();
    killer.join().expect("has killed");
    updated
}

#[test]
fn at_whichever_moment_the_power_fails_the_old_or_the_new_model_is_there() {
    const MOMENTS: u8 = 200;
    let name = "at_whichever_moment_the_power_fails_the_old_or_the_new_model_is_there";
    let Some(emulator) = Emulator::new(name, BOARD) else {
        return;
    };
    let model = |number: u8| tiny_model(number.into(), number);
    let mut client = emulator.connect();
    let start = Instant::now();
    let mut kept = client.flash(&model(0), &mut |_| {}).expect("is taken");
    let duration = start.elapsed();
    drop(client);

    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut updates = 0;
    for number in 1..=MOMENTS {
        let delay = duration.mul_f64(random.random_range(0.0..1.3));
        let answered = update_until(&emulator, &model(number), delay);
        let mut client = emulator.connect();
        let found = client.greeting().model.expect("there is always a model");
        if found != kept {
            assert_eq!(found.identity, [number; 32], "after {delay:?}");
            updates += 1;
        }
        assert!(
            answered.is_none_or(|answer| answer == found),
            "after {delay:?}"
        );
        let bias = i32::from(found.identity[0]);
        let logits = client.infer(&[1, 2, 3, 4]).expect("runs").logits;
        assert_eq!(logits, [10 + bias, bias], "after {delay:?}");
        kept = found;
    }
    assert!(
        updates > 10 && updates < MOMENTS - 10,
        "{updates} of {MOMENTS}"
    );

    let mut client = emulator.connect();
    let last = model(MOMENTS + 1);
    let written = client.flash(&last, &mut |_| {}).expect("is taken");
    assert_eq!(written.identity, [MOMENTS + 1; 32]);
}
