//! The firmware of mps2-an386 under QEMU.

use std::time::{Duration, Instant};

use lowbit_host::board::transport::{BoardProcess, Transport, TransportError};
use lowbit_host::board::{Client, Error, Options, Settings, verify};
use lowbit_host::data::Dataset;
use lowbit_host::{lower, pack};
use lowbit_runtime::testing::{PIXELS, tiny_model};
use lowbit_tests::{
    Emulator, NetworkBuilder, Shape, Signal, noise, noise_images, random_network, signal,
};

const BOARD: &str = "mps2-an386";

fn images(count: usize) -> Dataset {
    Dataset {
        name: "test".into(),
        shape: [2, 2, 1],
        classes: 2,
        pixels: (0..count * PIXELS)
            .map(|index| (37 * index) as u8)
            .collect(),
        labels: vec![0; count],
    }
}

#[test]
fn a_model_survives_a_restart_and_computes_what_the_host_computes() {
    let name = "a_model_survives_a_restart_and_computes_what_the_host_computes";
    let Some(emulator) = Emulator::new(name, BOARD) else {
        return;
    };
    let model = tiny_model(11, 3);
    let written = emulator
        .connect()
        .flash(&model, &mut |_| {})
        .expect("is taken");
    let mut client = emulator.connect();
    assert_eq!(client.greeting().model, Some(written));
    for layers in [false, true] {
        let verdict = verify(
            &mut client,
            &model,
            &images(5),
            Options { layers },
            &mut |_| {},
        );
        let verdict = verdict.expect("runs");
        assert!(verdict.is_equal(), "{verdict:?}");
        assert_eq!(verdict.images, 5);
        assert!(
            verdict
                .instructions_per_inference
                .is_some_and(|count| count > 40.0)
        );
        assert!(
            verdict
                .stack_bytes
                .is_some_and(|used| used > 100 && used < 32 * 1024)
        );
    }
}

#[test]
fn a_residual_network_gives_the_same_integers_in_every_layer() {
    let name = "a_residual_network_gives_the_same_integers_in_every_layer";
    let Some(emulator) = Emulator::new(name, BOARD) else {
        return;
    };
    let mut client = emulator.connect();
    let images = noise_images(3);
    for bits in [2, 3, 4, 8] {
        let model = random_network("resnet8", bits);
        client.flash(&model, &mut |_| {}).expect("is taken");
        let options = Options { layers: true };
        let verdict = verify(&mut client, &model, &images, options, &mut |_| {}).expect("runs");
        assert!(verdict.is_equal(), "{bits} bits: {verdict:?}");
    }
}

/// Depthwise and 1x1 convolutions, kernels of 10x4, and sums without activation function, whose
/// integers have a zero point of their own.
#[test]
fn networks_of_other_kinds_give_the_same_integers_in_every_layer() {
    let name = "networks_of_other_kinds_give_the_same_integers_in_every_layer";
    let Some(emulator) = Emulator::new(name, BOARD) else {
        return;
    };
    let mut client = emulator.connect();
    for (network, bits, shape) in [
        ("mlperf_tiny_vww_mobilenetv1_025", 4, [96, 96, 3]),
        ("mlperf_tiny_kws_dscnn", 8, [49, 10, 1]),
        ("cifar100_resnet20_wide_stem", 3, [32, 32, 3]),
    ] {
        let model = random_network(network, bits);
        client.flash(&model, &mut |_| {}).expect("is taken");
        let options = Options { layers: true };
        let images = noise(shape, 1);
        let verdict = verify(&mut client, &model, &images, options, &mut |_| {}).expect("runs");
        assert!(verdict.is_equal(), "{network}: {verdict:?}");
    }
}

#[test]
fn instruction_counts_repeat() {
    let Some(emulator) = Emulator::new("instruction_counts_repeat", BOARD) else {
        return;
    };
    let mut client = emulator.connect();
    client
        .flash(&tiny_model(0, 1), &mut |_| {})
        .expect("is taken");
    let mut count = || client.infer(&[1, 2, 3, 4]).expect("runs").ticks;
    let first = count();
    for _ in 0..5 {
        assert_eq!(count(), first);
    }
}

#[test]
fn a_difference_is_named() {
    let Some(emulator) = Emulator::new("a_difference_is_named", BOARD) else {
        return;
    };
    let mut client = emulator.connect();
    client
        .flash(&tiny_model(5, 1), &mut |_| {})
        .expect("is taken");
    let other = tiny_model(6, 1);
    let verdict = verify(
        &mut client,
        &other,
        &images(2),
        Options::default(),
        &mut |_| {},
    );
    let difference = verdict
        .expect("runs")
        .first_difference
        .expect("biases differ");
    assert_eq!(
        difference.to_string(),
        "image 0, layer `output`, channel 0, y 0, x 0: host 228, board 227"
    );
}

#[test]
fn a_board_that_is_killed_while_it_is_flashed_keeps_its_model() {
    let name = "a_board_that_is_killed_while_it_is_flashed_keeps_its_model";
    let Some(emulator) = Emulator::new(name, BOARD) else {
        return;
    };
    let old = tiny_model(1, 1);
    let kept = emulator
        .connect()
        .flash(&old, &mut |_| {})
        .expect("is taken");
    let process = emulator.start();
    let id = process.id();
    let mut client = Client::connect(Box::new(process), Settings::default()).expect("answers");
    let killed = client.flash(&tiny_model(2, 2), &mut |_| signal(id, Signal::KILL));
    let error = killed.expect_err("the board is gone");
    assert!(
        matches!(&error, Error::Transport(TransportError::Closed { reason, .. })
            if reason.contains("signal: 9")),
        "{error}"
    );
    drop(client);
    let mut client = emulator.connect();
    assert_eq!(client.greeting().model, Some(kept));
    let verdict = verify(
        &mut client,
        &old,
        &images(2),
        Options::default(),
        &mut |_| {},
    );
    assert!(verdict.expect("runs").is_equal());
}

#[test]
fn a_board_that_is_killed_while_it_is_verified_ends_in_an_error() {
    let name = "a_board_that_is_killed_while_it_is_verified_ends_in_an_error";
    let Some(emulator) = Emulator::new(name, BOARD) else {
        return;
    };
    let process = emulator.start();
    let id = process.id();
    let mut client = Client::connect(Box::new(process), Settings::default()).expect("answers");
    let model = tiny_model(1, 1);
    client.flash(&model, &mut |_| {}).expect("is taken");
    let killed = verify(
        &mut client,
        &model,
        &images(3),
        Options::default(),
        &mut |_| signal(id, Signal::KILL),
    );
    let shown = killed.expect_err("the board is gone").to_string();
    assert!(
        shown.starts_with("the emulated `mps2-an386` stopped"),
        "{shown}"
    );
}

#[test]
fn garbage_on_the_line_is_skipped() {
    let Some(emulator) = Emulator::new("garbage_on_the_line_is_skipped", BOARD) else {
        return;
    };
    let mut process = emulator.start();
    let garbage: Vec<u8> = (0..5000u32)
        .map(|index| (index * index / 7) as u8)
        .collect();
    process.send(&garbage).expect("is running");
    let client = Client::connect(Box::new(process), Settings::default()).expect("answers");
    assert_eq!(client.greeting().board, BOARD);
}

#[test]
fn a_silent_board_is_given_up() {
    let Some(emulator) = Emulator::new("a_silent_board_is_given_up", BOARD) else {
        return;
    };
    let process = emulator.start();
    signal(process.id(), Signal::STOP);
    let settings = Settings {
        timeout: Duration::from_millis(200),
        ..Settings::default()
    };
    let start = Instant::now();
    let error = Client::connect(Box::new(process), settings).expect_err("silent");
    assert!(
        matches!(error, Error::Silent { attempts: 1.., .. }),
        "{error}"
    );
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_model_that_is_too_large_is_refused_by_the_board_too() {
    let name = "a_model_that_is_too_large_is_refused_by_the_board_too";
    let Some(emulator) = Emulator::new(name, BOARD) else {
        return;
    };
    let client = emulator.connect();
    let model = tiny_model(0, 1);
    let checked = lowbit_runtime::format::Model::new_checked(&model).expect("is a model");
    let slot = client.greeting().slot_bytes as usize;
    assert_eq!(slot, emulator.board.memory.models.bytes as usize / 2 - 64);
    let error = lowbit_host::board::check_fit(&checked, slot + 1, client.greeting());
    let shown = error.expect_err("one byte too many").to_string();
    assert!(
        shown.contains("1 bytes too many; largest part: `input` with 512 bytes"),
        "{shown}"
    );
}

#[test]
fn a_board_is_used_by_one_at_a_time() {
    let Some(emulator) = Emulator::new("a_board_is_used_by_one_at_a_time", BOARD) else {
        return;
    };
    let first = emulator.start();
    let firmware = lowbit_host::board::find_firmware(&emulator.board, None).expect("is built");
    let second = BoardProcess::start(&emulator.board, &firmware, emulator.state());
    let error = second.expect_err("the flash is in use");
    assert!(matches!(error, TransportError::Busy { .. }), "{error}");
    drop(first);
    let _ = emulator.connect();
}

#[test]
fn a_missing_emulator_is_named() {
    let Some(emulator) = Emulator::new("a_missing_emulator_is_named", BOARD) else {
        return;
    };
    let mut board = emulator.board.clone();
    let qemu = board.qemu.as_mut().expect("can be emulated");
    qemu.program = "qemu-system-none".into();
    let error = BoardProcess::start(&board, "firmware".as_ref(), emulator.state());
    let shown = error.expect_err("there is no such program").to_string();
    assert!(
        shown.starts_with("`qemu-system-none` is not installed: run `scripts/setup`"),
        "{shown}"
    );
}

#[test]
fn a_firmware_that_does_not_start_ends_in_the_emulators_words() {
    let name = "a_firmware_that_does_not_start_ends_in_the_emulators_words";
    let Some(emulator) = Emulator::new(name, BOARD) else {
        return;
    };
    let firmware = emulator.state().join("no-firmware");
    let process = BoardProcess::start(&emulator.board, &firmware, emulator.state());
    let connected = Client::connect(Box::new(process.expect("starts")), Settings::default());
    let shown = connected.expect_err("no firmware").to_string();
    assert!(shown.contains("no-firmware"), "{shown}");
}

/// Images of 8 x 8 x 3 pixels through three convolutions, a few tenths of a millisecond each.
fn small_network() -> Vec<u8> {
    let mut builder = NetworkBuilder::new("small", [3, 8, 8]);
    let stem = builder.conv("stem", &Shape::dense(3, 8, 3), [4, 4], builder.input());
    let depthwise = Shape {
        groups: 8,
        ..Shape::dense(8, 8, 3)
    };
    let deep = builder.conv("depthwise", &depthwise, [4, 4], stem);
    let wide = builder.conv("pointwise", &Shape::dense(8, 16, 1), [4, 4], deep);
    let network = builder.classify(16, 10, wide);
    let program = lower::lower(&network, &lower::Options::default()).expect("lowers");
    pack::pack(&program, &[]).expect("packs")
}

#[test]
fn ten_thousand_inferences_differ_in_nothing_and_take_no_more_stack() {
    let name = "ten_thousand_inferences_differ_in_nothing_and_take_no_more_stack";
    let Some(emulator) = Emulator::new(name, BOARD) else {
        return;
    };
    let mut client = emulator.connect();
    let model = small_network();
    client.flash(&model, &mut |_| {}).expect("is taken");
    let mut images = noise_images(10_000);
    images.shape = [8, 8, 3];
    images.pixels.truncate(10_000 * 8 * 8 * 3);
    let mut verify = |images: &Dataset| {
        let verdict = verify(&mut client, &model, images, Options::default(), &mut |_| {});
        let verdict = verdict.expect("runs");
        assert!(verdict.is_equal(), "{verdict:?}");
        (verdict.images, verdict.stack_bytes)
    };
    let (_, stack) = verify(&images.part(0, 10));
    assert!(stack.is_some());
    assert_eq!(verify(&images), (10_000, stack));
}
