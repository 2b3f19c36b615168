//! Power failures while records change.

use std::thread;
use std::time::{Duration, Instant};

use lowbit_host::board::{CalibrationOrder, Client, Error, Settings as LinkSettings};
use lowbit_host::calibration::Settings;
use lowbit_host::data::Dataset;
use lowbit_host::integer::IntegerNetwork;
use lowbit_runtime::calibration::Passes;
use lowbit_runtime::testing::calibratable_model;
use lowbit_tests::{Emulator, Signal, signal};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{order, verified};

/// Ends the process after `wait`.
fn kill_after(process: u32, wait: Duration) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        thread::sleep(wait);
        signal(process, Signal::KILL);
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
