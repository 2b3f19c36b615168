//! Boards that calibrate themselves, under QEMU: the same records as here, acceptance, rollback, and
//! power failures while records change.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use lowbit_host::board::{
    BoardCalibration, CalibrationOrder, Client, Error, Inputs, Options, Settings as LinkSettings,
    Verdict, bench, verify,
};
use lowbit_host::calibration::{Judging, Settings, accept, calibrate, record};
use lowbit_host::data::{Dataset, Source, write_archive};
use lowbit_host::integer::{Calibrated, IntegerNetwork};
use lowbit_host::shifts::Shift;
use lowbit_host::{lower, pack};
use lowbit_runtime::calibration::{Guards, PAYLOAD_OFFSET, Passes};
use lowbit_runtime::testing::{PIXELS, calibratable_model, tiny_model};
use lowbit_tests::{
    Emulator, Finished, NetworkBuilder, Shape, noise, noise_images, quantized_resnet20, run_build,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Those that calibrate. The lm3s6965evb has no flash for the code.
const BOARDS: [&str; 6] = [
    "b-l475e-iot01a",
    "microbit",
    "mps2-an386",
    "mps2-an500",
    "mps2-an505",
    "rv32-virt",
];

/// The trained network at 6 bits, with statistics of the fast plan's layers.
fn resnet20(weights: &Path) -> Vec<u8> {
    let options = lower::Options {
        calibration: true,
        ..lower::Options::default()
    };
    let program = lower::lower(&quantized_resnet20(weights, 6), &options);
    let mut program = program.expect("lowers");
    program.keep_fast_layers();
    pack::pack(&program, &[]).expect("packs")
}

/// A network of four layers for images of 16 x 16 x 3 pixels, in less than 8 KiB of arena.
fn small_network() -> Vec<u8> {
    let mut builder = NetworkBuilder::new("small", [3, 16, 16]);
    let strided = |read, written, kernel| Shape {
        stride: 2,
        ..Shape::dense(read, written, kernel)
    };
    let depthwise = Shape {
        groups: 8,
        ..Shape::dense(8, 8, 3)
    };
    let shapes = [
        strided(3, 8, 5),
        depthwise,
        Shape::dense(8, 16, 1),
        strided(16, 16, 3),
    ];
    let mut last = builder.input();
    for (index, shape) in shapes.iter().enumerate() {
        last = builder.normalized_conv(&format!("conv{index}"), shape, [4, 4], last);
    }
    let options = lower::Options {
        tile_rows: 1,
        calibration: true,
        ..lower::Options::default()
    };
    let program = lower::lower(&builder.classify(16, 10, last), &options);
    let mut program = program.expect("lowers");
    program.choose_fast_layers();
    let golden = noise([16, 16, 3], 2);
    let golden: Vec<_> = golden.images().iter().map(|image| image.to_vec()).collect();
    pack::pack(&program, &golden).expect("packs")
}

fn order<'a>(
    network: &IntegerNetwork<'a>,
    seen: &'a Dataset,
    unseen: &'a Dataset,
    settings: Settings,
) -> CalibrationOrder<'a> {
    CalibrationOrder {
        settings,
        inputs: Inputs::Sent { seen, unseen },
        labels: false,
        force: false,
        commit: true,
        check: Some(*network),
    }
}

/// The record that this computer makes of the same images by itself, if it is accepted.
fn record_made_here(
    network: &IntegerNetwork<'_>,
    order: &CalibrationOrder<'_>,
    generation: u32,
) -> Option<Vec<u8>> {
    let factory = Calibrated::new(network);
    let mut calibrated = Calibrated::new(network);
    let Inputs::Sent { seen, unseen } = order.inputs else {
        panic!("{:?}", order.inputs);
    };
    let pixels = seen.images();
    let found = calibrate(network, &mut calibrated, &pixels, order.settings).expect("calibrates");
    let judging = Judging {
        seen: &pixels,
        unseen,
        labels: order.labels,
        guards: Guards {
            force_diversity: order.force,
            ..Guards::default()
        },
    };
    let verdict = accept(network, &factory, &calibrated, &found, &judging).expect("runs");
    let metric = verdict.result.ok()?;
    let images = pixels.len() as u32;
    Some(record(
        network.model(),
        &found,
        images,
        order.settings,
        metric,
        generation,
    ))
}

fn verified(client: &mut Client, model: &[u8], images: &Dataset) -> Verdict {
    let options = Options { layers: true };
    let verdict = verify(client, model, images, options, &mut |_| {}).expect("runs");
    assert!(verdict.is_equal(), "{verdict:?}");
    verdict
}

#[test]
fn a_board_adapts_to_lost_contrast_and_goes_back() {
    let test = "a_board_adapts_to_lost_contrast_and_goes_back";
    let Some(weights) = lowbit_tests::data(test, "cifar10_resnet20.safetensors") else {
        return;
    };
    let Some(path) = lowbit_tests::data(test, "cifar10_test.bin") else {
        return;
    };
    let data = Source::Cifar10(path).load_first(Some(56)).expect("loads");
    let shift: Shift = "contrast:5".parse().expect("is a shift");
    let shifted = shift.apply(&data, 1);
    let packed = resnet20(&weights);
    let network = IntegerNetwork::new(&packed).expect("is a model");
    for board in ["mps2-an386", "b-l475e-iot01a"] {
        if let Some(emulator) = Emulator::new(&format!("{test} ({board})"), board) {
            adapt_and_go_back(&emulator, &network, &packed, &shifted);
        }
    }
}

fn adapt_and_go_back(
    emulator: &Emulator,
    network: &IntegerNetwork<'_>,
    packed: &[u8],
    shifted: &Dataset,
) {
    let mut client = emulator.connect();
    client.flash(packed, &mut |_| {}).expect("is taken");
    let test = shifted.part(40, 16);
    let factory = verified(&mut client, packed, &test);
    assert_eq!(factory.calibration, None);

    let (seen, unseen) = (shifted.part(0, 32), shifted.part(32, 8));
    let settings = Settings {
        passes: Passes::Fast,
        prior: 32,
    };
    let order = order(network, &seen, &unseen, settings);
    let BoardCalibration {
        judgement,
        record,
        memory_bytes,
        ..
    } = client.calibrate(&order, &mut |_, _| {}).expect("runs");
    assert!(judgement.verdict.is_ok(), "{judgement:?}");
    assert_eq!(judgement.generation, Some(1));
    let record = record.expect("was written");
    assert_eq!(Some(&record), record_made_here(network, &order, 1).as_ref());
    // 64 channels of 16 bytes.
    assert_eq!(memory_bytes, 1024);
    assert!(record.len() < 6 * 1024, "{}", record.len());

    // Also after a restart.
    drop(client);
    let mut client = emulator.connect();
    let adapted = verified(&mut client, packed, &test);
    assert_eq!(adapted.calibration, Some(1));
    assert!(
        adapted.board_top1 > factory.board_top1 + 20.0,
        "{} % before, {} % after",
        factory.board_top1,
        adapted.board_top1
    );
    // The same work with numbers from another place.
    let counts = [&factory, &adapted].map(|verdict| verdict.instructions_per_inference);
    let [before, after] = counts.map(|count| count.expect("counts instructions"));
    assert!(
        (after / before - 1.0).abs() < 0.001,
        "{before} before, {after} after"
    );
    assert_eq!(client.roll_back().expect("is taken back"), None);
    let back = verified(&mut client, packed, &test);
    assert_eq!(
        (back.calibration, back.board_top1),
        (None, factory.board_top1)
    );
}

#[test]
fn collecting_costs_less_than_two_percent() {
    let test = "collecting_costs_less_than_two_percent";
    let Some(weights) = lowbit_tests::data(test, "cifar10_resnet20.safetensors") else {
        return;
    };
    let Some(emulator) = Emulator::new(test, "mps2-an386") else {
        return;
    };
    let packed = resnet20(&weights);
    let network = IntegerNetwork::new(&packed).expect("is a model");
    let plan = network.plan(Passes::Fast).expect("has a plan");
    let last = plan.passes(Passes::Fast).last().expect("has layers");
    let mut client = emulator.connect();
    client.flash(&packed, &mut |_| {}).expect("is taken");
    let images = noise_images(1);
    let measured = bench(&mut client, &packed, images.image(0)).expect("runs");
    let layers = measured.layers.iter().take(usize::from(last.operation) + 1);
    let plain: u64 = layers.filter_map(|layer| layer.instructions).sum();
    let settings = Settings {
        passes: Passes::Fast,
        prior: 32,
    };
    let order = CalibrationOrder {
        commit: false,
        ..order(&network, &images, &images, settings)
    };
    let found = client.calibrate(&order, &mut |_, _| {}).expect("runs");
    let whole = measured.instructions.expect("counts instructions");
    let collecting = found.ticks_per_run;
    let more = 100.0 * (collecting - plain as f64) / whole as f64;
    assert!(
        (0.0..2.0).contains(&more),
        "{plain} without, {collecting} with: {more} % more"
    );
}

#[test]
fn every_board_makes_the_same_record_as_this_computer() {
    let name = "every_board_makes_the_same_record_as_this_computer";
    let packed = small_network();
    let network = IntegerNetwork::new(&packed).expect("is a model");
    let images = noise([16, 16, 3], 44);
    let (seen, unseen) = (images.part(0, 34), images.part(34, 10));
    for board in BOARDS {
        let Some(emulator) = Emulator::new(&format!("{name} ({board})"), board) else {
            continue;
        };
        let mut client = emulator.connect();
        client.flash(&packed, &mut |_| {}).expect("is taken");
        for (generation, prior) in (1..).zip([100, 400]) {
            let settings = Settings {
                passes: Passes::Exact,
                prior,
            };
            // Noise has no classes.
            let order = CalibrationOrder {
                labels: true,
                force: true,
                ..order(&network, &seen, &unseen, settings)
            };
            let found = client.calibrate(&order, &mut |_, _| {}).expect("runs");
            let record = found
                .record
                .unwrap_or_else(|| panic!("{board}: {:?}", found.judgement));
            // The first time, the parameters in use are the factory's, as they are here.
            if generation == 1 {
                assert_eq!(
                    Some(record),
                    record_made_here(&network, &order, 1),
                    "{board}"
                );
            }
            let verdict = verified(&mut client, &packed, &unseen.part(0, 2));
            assert_eq!(verdict.calibration, Some(generation), "{board}");
            assert!(
                verdict.stack_bytes < Some(emulator.board.memory.stack.expect("is one").bytes),
                "{verdict:?}"
            );
        }
        assert_eq!(client.roll_back().expect("is taken back"), Some(1));
        verified(&mut client, &packed, &unseen.part(0, 2));
        client.reset_calibration().expect("is erased");
        assert_eq!(
            verified(&mut client, &packed, &unseen.part(0, 2)).calibration,
            None
        );
    }
}

/// A calibration on images without classes that is accepted, and the record.
fn accepted_on_noise<'a>(
    network: &IntegerNetwork<'a>,
    seen: &'a Dataset,
    unseen: &'a Dataset,
) -> (CalibrationOrder<'a>, Vec<u8>) {
    // Only large priors do not make the network less certain of it.
    let sent = |prior| CalibrationOrder {
        force: true,
        ..order(
            network,
            seen,
            unseen,
            Settings {
                passes: Passes::Fast,
                prior,
            },
        )
    };
    let (order, expected) = (0..28)
        .map(|doublings| sent(4 << doublings))
        .find_map(|order| Some((order, record_made_here(network, &order, 1)?)))
        .expect("is accepted with one of them");
    let factory = sent(u32::MAX);
    let unchanged = record_made_here(network, &factory, 1).expect("is accepted");
    assert_ne!(expected[PAYLOAD_OFFSET..], unchanged[PAYLOAD_OFFSET..]);
    (order, expected)
}

/// The same record as this computer's from the inputs that were recorded for the board's sensor.
#[test]
fn boards_calibrate_by_their_own_sensor() {
    let name = "boards_calibrate_by_their_own_sensor";
    let packed = small_network();
    let network = IntegerNetwork::new(&packed).expect("is a model");
    let images = noise([16, 16, 3], 44);
    let (seen, unseen) = (images.part(0, 34), images.part(34, 10));
    let (order, expected) = accepted_on_noise(&network, &seen, &unseen);
    let sensed = |seen, unseen| CalibrationOrder {
        inputs: Inputs::Sensed { seen, unseen },
        ..order
    };
    for board in ["mps2-an386", "b-l475e-iot01a", "rv32-virt"] {
        let Some(emulator) = Emulator::new(&format!("{name} ({board})"), board) else {
            continue;
        };
        let calibrate = |seen, unseen| {
            let mut client = emulator.connect();
            client.flash(&packed, &mut |_| {}).expect("is taken");
            let found = client.calibrate(&sensed(seen, unseen), &mut |_, _| {});
            found.map_err(|error| error.to_string())
        };
        let refused = |seen, unseen| calibrate(seen, unseen).expect_err("cannot");
        assert!(refused(34, 10).contains("no sensor of its own"));
        let stream = emulator.state().join("sensor.raw");
        std::fs::write(&stream, &images.pixels[1..]).expect("is written");
        assert!(refused(34, 10).contains("not of the 768 bytes that the model reads"));
        std::fs::write(&stream, &images.pixels).expect("is written");
        assert!(refused(34, 11).contains("stream of 44 inputs; 45 are needed"));
        let found = calibrate(34, 10).expect("runs");
        assert_eq!(found.record.as_ref(), Some(&expected), "{board}: {found:?}");
    }
}

/// What the board linux makes of a folder of images is what this computer makes of it.
#[test]
fn the_board_linux_calibrates_by_a_folder_of_images() {
    run_build(&["linux"]).expect("builds");
    let folder = tempfile::tempdir().expect("a folder");
    let sensor = folder.path().join("sensor");
    fs_err::create_dir(&sensor).expect("is made");
    for (index, pixels) in noise([24, 20, 3], 44).images().into_iter().enumerate() {
        let path = sensor.join(format!("{index:02}.png"));
        let color = image::ExtendedColorType::Rgb8;
        image::save_buffer(path, pixels, 20, 24, color).expect("is written");
    }
    let source = Source::Images {
        folder: folder.path().to_owned(),
        side: 16,
    };
    let images = source.load_first(None).expect("loads");
    let (seen, unseen) = (images.part(0, 34), images.part(34, 10));
    let packed = small_network();
    let network = IntegerNetwork::new(&packed).expect("is a model");
    let (order, expected) = accepted_on_noise(&network, &seen, &unseen);
    let [model, record] = ["model.lowbit", "board.record"].map(|name| folder.path().join(name));
    pack::write(&model, &packed).expect("is written");
    let [state, model, out] =
        [folder.path(), &model, &record].map(|path| path.to_str().expect("UTF-8"));
    let board = |command: &str, rest: &[&str]| -> Finished {
        let fixed = [command, "--board", "linux", "--state", state, "--json"];
        lowbit_tests::run(fixed.iter().chain(rest))
    };
    let flashed = board("flash", &[model]);
    assert_eq!(flashed.code, 0, "{}", flashed.stderr);
    let prior = order.settings.prior.to_string();
    let calibrate = |trial: &str| {
        let counts = ["--images", "34", "--trial", trial, "--prior", &prior];
        let flags = ["--from-sensor", "--force", "--out", out];
        board("calibrate", &[&counts[..], &flags].concat())
    };
    let short = calibrate("11");
    assert_eq!(short.code, 2, "{}", short.stdout);
    assert!(
        short.stderr.contains("44 inputs; 45 are needed"),
        "{}",
        short.stderr
    );
    assert!(!record.exists());
    let found = calibrate("10");
    assert_eq!(found.code, 0, "{}{}", found.stdout, found.stderr);
    assert_eq!(found.json()["generation"], 1);
    assert_eq!(fs_err::read(&record).expect("is written"), expected);
}

#[test]
fn a_board_without_room_for_it_says_so() {
    let Some(emulator) = Emulator::new("a_board_without_room_for_it_says_so", "lm3s6965evb") else {
        return;
    };
    let packed = small_network();
    let network = IntegerNetwork::new(&packed).expect("is a model");
    let mut client = emulator.connect();
    client.flash(&packed, &mut |_| {}).expect("is taken");
    let images = noise([16, 16, 3], 1);
    let settings = Settings {
        passes: Passes::Fast,
        prior: 1,
    };
    let refused = client.calibrate(&order(&network, &images, &images, settings), &mut |_, _| {});
    let shown = refused.expect_err("cannot").to_string();
    assert!(
        shown.contains("cannot calibrate, as its flash is too small"),
        "{shown}"
    );
    verified(&mut client, &packed, &images);
}

#[test]
fn the_command_calibrates_a_board_and_says_what_is_wrong() {
    let test = "the_command_calibrates_a_board_and_says_what_is_wrong";
    let Some(weights) = lowbit_tests::data(test, "cifar10_resnet20.safetensors") else {
        return;
    };
    let Some(path) = lowbit_tests::data(test, "cifar10_test.bin") else {
        return;
    };
    let Some(emulator) = Emulator::new(test, "mps2-an386") else {
        return;
    };
    let data = Source::Cifar10(path).load_first(Some(500)).expect("loads");
    let folder = tempfile::tempdir().expect("a folder");
    let state = emulator.state().to_str().expect("UTF-8").to_owned();
    let board = |command: &str, rest: &[&str]| -> Finished {
        let fixed = [
            command,
            "--board",
            "mps2-an386",
            "--state",
            &state,
            "--json",
        ];
        lowbit_tests::run(fixed.iter().chain(rest))
    };
    let write = |name: &str, data: &Dataset| {
        let path = folder.path().join(format!("{name}.npz"));
        write_archive(&path, data).expect("is written");
        format!("npz:{}", path.display())
    };
    let model = folder.path().join("model.lowbit");
    let path = model.to_str().expect("UTF-8");
    let shift: Shift = "contrast:5".parse().expect("is a shift");
    let shifted = write("contrast", &shift.apply(&data.part(0, 40), 1));
    let calibrate = |data: &str, flags: &[&str]| {
        board(
            "calibrate",
            &[&["--data", data, "--trial", "8"], flags].concat(),
        )
    };
    let few = &["--images", "32"][..];

    for refused in [
        calibrate(&shifted, few),
        board("calibrate", &["--status"]),
        board("calibrate", &["--rollback"]),
    ] {
        assert_eq!(refused.code, 2);
        assert!(
            refused.stderr.contains("lowbit flash"),
            "{}",
            refused.stderr
        );
    }
    pack::write(&model, &tiny_model(0, 1)).expect("is written");
    assert_eq!(board("flash", &[path]).code, 0);
    let pixels = Dataset {
        shape: [2, 2, 1],
        pixels: vec![0; 40 * PIXELS],
        ..data.part(0, 40)
    };
    let without_statistics = calibrate(&write("pixels", &pixels), few);
    assert_eq!(without_statistics.code, 2);
    assert!(
        without_statistics.stderr.contains("holds no statistics")
            && without_statistics.stderr.contains("--calibration fast"),
        "{}",
        without_statistics.stderr
    );

    pack::write(&model, &resnet20(&weights)).expect("is written");
    assert_eq!(board("flash", &[path]).code, 0);
    let dry = calibrate(&shifted, &[few, &["--dry-run"]].concat());
    assert_eq!(
        (dry.code, &dry.json()["generation"]),
        (0, &serde_json::Value::Null)
    );
    let kept = calibrate(&shifted, &[few, &[path, "--on-host"]].concat());
    assert_eq!(kept.code, 0, "{}{}", kept.stdout, kept.stderr);
    let kept = kept.json();
    assert_eq!(
        (&kept["accepted"], &kept["generation"]),
        (&true.into(), &1.into())
    );
    assert_eq!(
        (&kept["images"], &kept["clamped_channels"]),
        (&32.into(), &0.into())
    );
    assert!(
        kept["metric_after"].as_f64() > kept["metric_before"].as_f64(),
        "{kept}"
    );
    let status = board("calibrate", &["--status"]).json();
    assert_eq!(status["generation"], 1);

    let bytes = data.image(0).len();
    let one_class: Vec<usize> = (0..data.len())
        .filter(|&image| data.labels[image] == 3)
        .take(40)
        .collect();
    let one_class = Dataset {
        pixels: one_class
            .iter()
            .flat_map(|&image| data.image(image).to_vec())
            .collect(),
        labels: vec![3; 40],
        ..data.clone()
    };
    let black = Dataset {
        pixels: vec![0; 40 * bytes],
        labels: vec![0; 40],
        ..data.clone()
    };
    for (name, images, count, reason) in [
        ("one class", &one_class, "32", "classes only, at least 4"),
        ("black", &black, "32", "taken for 1 classes only"),
        ("noise", &noise_images(40), "32", "classes only, at least 4"),
        ("few", &data.part(0, 13), "5", "5 images are too few"),
    ] {
        // With one prior: each further one takes as long.
        let refused = calibrate(&write(name, images), &["--images", count, "--prior", count]);
        assert_eq!(
            refused.code, 1,
            "{name}: {}{}",
            refused.stdout, refused.stderr
        );
        let refused = refused.json();
        assert_eq!(refused["accepted"], false);
        let found = refused["reason"].as_str();
        assert!(
            found.is_some_and(|found| found.contains(reason)),
            "{name}: {found:?}"
        );
    }
    let back = board("calibrate", &["--rollback"]);
    assert_eq!(
        (back.code, &back.json()["generation"]),
        (0, &serde_json::Value::Null)
    );
    let again = board("calibrate", &["--rollback"]);
    assert_eq!(again.code, 2);
    assert!(
        again.stderr.contains("no calibration is in use"),
        "{}",
        again.stderr
    );
    assert_eq!(board("calibrate", &["--reset"]).code, 0);
}

/// Ends the process after `wait`.
fn kill_after(process: u32, wait: Duration) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        thread::sleep(wait);
        // The process may have ended with the test's client.
        let _ = Command::new("kill")
            .args(["-KILL", &process.to_string()])
            .status();
    })
}

/// A calibration of four pixels, 32 dark and bright images.
fn tiny_images() -> Dataset {
    let image = |index: usize| match index % 2 {
        0 => [90, 110, 120, 140],
        _ => [160, 190, 200, 230],
    };
    Dataset {
        name: "tiny".into(),
        shape: [2, 2, 1],
        classes: 2,
        pixels: (0..32).flat_map(image).collect(),
        labels: vec![7; 32],
    }
}

/// Cuts the power `cuts` times while records change, and checks what the board comes up with: the
/// state before or after, with exactly its parameters, and the model.
fn cut_the_power(emulator: &Emulator, seed: u64, cuts: usize) -> [usize; 2] {
    let model = calibratable_model(7);
    let network = IntegerNetwork::new(&model).expect("is a model");
    let images = tiny_images();
    let unseen = images.part(0, 2);
    let settings = Settings {
        passes: Passes::Exact,
        prior: 16,
    };
    let order = CalibrationOrder {
        labels: true,
        ..order(&network, &images, &unseen, settings)
    };
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut client = emulator.connect();
    let flashed = client.flash(&model, &mut |_| {}).expect("is taken");
    // How long a commit takes here is a first guess at when to cut, which every cut corrects.
    let mut last = Instant::now();
    client
        .calibrate(&order, &mut |_, _| last = Instant::now())
        .expect("runs");
    let mut windows = [last.elapsed(); 2];
    client.calibrate(&order, &mut |_, _| {}).expect("runs");
    drop(client);
    let mut seen = [0; 2];
    let mut record = Some(2);
    for cut in 0..cuts {
        let process = emulator.start();
        let id = process.id();
        let mut client =
            Client::connect(Box::new(process), LinkSettings::default()).expect("answers");
        let mut killer = None;
        let commits = cut % 2 == 0 || record.is_none();
        let window = &mut windows[usize::from(commits)];
        let wait = window.mul_f64(random.random_range(0.0..2.0));
        let outcome: Result<(), Error> = if commits {
            let mut watch = |done, total| {
                if done == total {
                    killer = Some(kill_after(id, wait));
                }
            };
            client.calibrate(&order, &mut watch).map(|_| ())
        } else {
            killer = Some(kill_after(id, wait));
            client.roll_back().map(|_| ())
        };
        drop(outcome);
        if let Some(killer) = killer {
            killer.join().expect("ends");
        }
        drop(client);

        let mut client = emulator.connect();
        let found = client.greeting().model.expect("has a model");
        assert_eq!(
            (found.identity, found.generation),
            (flashed.identity, flashed.generation)
        );
        let changed = found.record != record;
        let is_possible = match (record, found.record) {
            (before, after) if before == after => true,
            (before, Some(after)) if commits => before < Some(after),
            (Some(before), after) => !commits && after < Some(before),
            (None, _) => false,
        };
        assert!(
            is_possible,
            "cut {cut}: {:?} after {record:?}",
            found.record
        );
        verified(&mut client, &model, &unseen);
        record = found.record;
        *window = window.mul_f64(if changed { 0.8 } else { 1.25 });
        seen[usize::from(changed)] += 1;
    }
    seen
}

#[test]
fn the_power_fails_two_hundred_times_while_records_change() {
    let name = "the_power_fails_two_hundred_times_while_records_change";
    let boards = ["mps2-an386", "rv32-virt"].map(|board| Emulator::new(name, board));
    let runs = thread::scope(|scope| {
        let threads: Vec<_> = (1..)
            .zip(boards.iter().flatten())
            .map(|(seed, emulator)| scope.spawn(move || cut_the_power(emulator, seed, 100)))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().expect("holds");
        threads.into_iter().map(join).collect::<Vec<_>>()
    });
    for [before, after] in runs {
        assert!(before > 20 && after > 20, "{before} and {after}");
    }
}
