//! Calibration of the trained ResNet-20 in the board's arithmetic.

use std::path::Path;

use lowbit_host::accuracy::top_class;
use lowbit_host::board::{Options, verify};
use lowbit_host::calibration::{Calibration, Settings, calibrate, fit_ranges, recalibrated, trial};
use lowbit_host::data::{Dataset, Source, write_archive};
use lowbit_host::integer::{Calibrated, IntegerNetwork};
use lowbit_host::shifts::Shift;
use lowbit_host::{lower, pack};
use lowbit_runtime::calibration::{Passes, Plan};
use lowbit_tests::{Emulator, Finished, noise_images, quantized_resnet20};
use serde_json::json;

fn with_statistics() -> lower::Options {
    lower::Options {
        calibration: true,
        ..lower::Options::default()
    }
}

/// The network at 6 bits, with statistics of all layers or of the fast plan's.
fn packed(weights: &Path, passes: Passes) -> Vec<u8> {
    packed_with(weights, passes, 6)
}

/// The same at another width.
fn packed_with(weights: &Path, passes: Passes, bits: u8) -> Vec<u8> {
    let program = lower::lower(&quantized_resnet20(weights, bits), &with_statistics());
    let mut program = program.expect("lowers");
    match passes {
        Passes::Exact => program.choose_fast_layers(),
        Passes::Fast => program.keep_fast_layers(),
    }
    pack::pack(&program, &[]).expect("packs")
}

fn cifar10(test: &str, images: usize) -> Option<(std::path::PathBuf, Dataset)> {
    let weights = lowbit_tests::data(test, "cifar10_resnet20.safetensors")?;
    let path = lowbit_tests::data(test, "cifar10_test.bin")?;
    let data = Source::Cifar10(path).load_first(Some(images));
    Some((weights, data.expect("loads")))
}

fn calibrated<'n, 'a>(
    network: &'n IntegerNetwork<'a>,
    images: &Dataset,
    settings: Settings,
) -> (Calibrated<'n, 'a>, Calibration) {
    let mut calibrated = Calibrated::new(network);
    let found = calibrate(network, &mut calibrated, &images.images(), settings);
    (calibrated, found.expect("calibrates"))
}

#[test]
fn calibration_recovers_what_lost_contrast_takes() {
    let test = "calibration_recovers_what_lost_contrast_takes";
    let Some((weights, data)) = cifar10(test, 400) else {
        return;
    };
    let packed = packed(&weights, Passes::Exact);
    let network = IntegerNetwork::new(&packed).expect("is a model");
    let shift: Shift = "contrast:5".parse().expect("is a shift");
    let shifted = shift.apply(&data, 1);
    let (seen, unseen) = (shifted.part(0, 64), shifted.part(100, 300));
    let factory = Calibrated::new(&network);
    let before = trial(&factory, &unseen).expect("runs").top1();
    for (passes, least) in [(Passes::Fast, 25.0), (Passes::Exact, 30.0)] {
        let settings = Settings { passes, prior: 32 };
        let (adapted, found) = calibrated(&network, &seen, settings);
        let after = trial(&adapted, &unseen).expect("runs").top1();
        assert!(
            after > before + least,
            "{passes:?}: {before} % before, {after} % after"
        );
        assert!(found.clamped * 10 < found.channels, "{found:?}");
    }
}

/// The engine image by image, as on a board, and batches on all cores.
#[test]
fn every_backend_gives_the_same_record() {
    let Some((weights, data)) = cifar10("every_backend_gives_the_same_record", 21) else {
        return;
    };
    let packed = packed(&weights, Passes::Exact);
    let network = IntegerNetwork::new(&packed).expect("is a model");
    for passes in [Passes::Fast, Passes::Exact] {
        let settings = Settings { passes, prior: 7 };
        let (batches, found) = calibrated(&network, &data, settings);
        let mut engine = Calibrated::portable(&network);
        let pixels = data.images();
        let by_engine = calibrate(&network, &mut engine, &pixels, settings).expect("calibrates");
        assert_eq!(found, by_engine);
        let logits = [batches, engine].map(|network| network.logits(&pixels).expect("runs"));
        assert_eq!(logits[0], logits[1]);
    }
}

/// A model that has the new parameters for its own computes the same, golden results included.
#[test]
fn a_calibration_can_be_applied_to_the_model() {
    let Some((weights, data)) = cifar10("a_calibration_can_be_applied_to_the_model", 48) else {
        return;
    };
    let program = lower::lower(&quantized_resnet20(&weights, 6), &with_statistics());
    let golden = [data.image(3).to_vec(), data.image(5).to_vec()];
    let packed = pack::pack(&program.expect("lowers"), &golden).expect("packs");
    let network = IntegerNetwork::new(&packed).expect("is a model");
    let shift: Shift = "fog:5".parse().expect("is a shift");
    let shifted = shift.apply(&data, 1);
    let settings = Settings {
        passes: Passes::Exact,
        prior: 16,
    };
    let (adapted, found) = calibrated(&network, &shifted, settings);
    let applied = pack::apply(network.model(), &found.payload).expect("packs");
    assert!(
        applied.len() + 16 * 600 < packed.len(),
        "the statistics are gone"
    );
    let applied = IntegerNetwork::new(&applied).expect("is a model");
    assert!(Plan::of(applied.model()).is_none());
    let expected = adapted.logits(&shifted.images()).expect("runs");
    assert_eq!(
        applied.evaluate(&shifted, None).expect("runs").logits,
        expected
    );
    for (image, pixels) in (0..).zip(&golden) {
        let (logits, digests) = applied.logits_and_digests(pixels).expect("runs");
        assert_ne!(logits, network.logits(pixels).expect("runs"));
        for (class, logit) in (0..).zip(logits) {
            assert_eq!(applied.model().golden_logits(image, class), Some(logit));
        }
        for (operation, digest) in (0..).zip(digests) {
            assert_eq!(
                applied.model().golden_digest(image, operation),
                Some(digest)
            );
        }
    }
}

/// Before, adapted, and back at the factory: always the same integers as here.
#[test]
fn a_board_runs_an_adapted_model_and_goes_back() {
    let test = "a_board_runs_an_adapted_model_and_goes_back";
    let Some((weights, data)) = cifar10(test, 70) else {
        return;
    };
    let Some(emulator) = Emulator::new(test, "mps2-an386") else {
        return;
    };
    let packed = packed_with(&weights, Passes::Fast, 4);
    let network = IntegerNetwork::new(&packed).expect("is a model");
    let shift: Shift = "contrast:5".parse().expect("is a shift");
    let shifted = shift.apply(&data, 1);
    let settings = Settings {
        passes: Passes::Fast,
        prior: 32,
    };
    let seen = shifted.part(0, 64);
    let (_, found) = calibrated(&network, &seen, settings);
    let adapted = pack::apply(network.model(), &found.payload).expect("packs");
    let fitted = fit_ranges(&network, &found.payload, &seen.images(), -1000);
    let fitted = fitted.expect("packs").expect("other ranges are better");
    let unseen = shifted.part(64, 3);
    let mut client = emulator.connect();
    for model in [&packed, &adapted, &fitted.packed, &packed] {
        client.flash(model, &mut |_| {}).expect("is taken");
        let options = Options { layers: true };
        let verdict = verify(&mut client, model, &unseen, options, &mut |_| {});
        let verdict = verdict.expect("runs");
        assert!(verdict.is_equal(), "{verdict:?}");
    }
    let logits = [&packed, &adapted, &fitted.packed].map(|model| {
        let network = IntegerNetwork::new(model).expect("is a model");
        network.logits(unseen.image(0)).expect("runs")
    });
    assert_ne!(logits[0], logits[1]);
    assert_ne!(logits[1], logits[2]);
}

/// Where a layer writes in another step, all that read it know: the answers hardly change.
#[test]
fn other_ranges_leave_the_answers_as_they_were() {
    let Some((weights, data)) = cifar10("other_ranges_leave_the_answers_as_they_were", 200) else {
        return;
    };
    let packed = packed_with(&weights, Passes::Fast, 4);
    let network = IntegerNetwork::new(&packed).expect("is a model");
    let (seen, unseen) = (data.part(0, 32), data.part(32, 168));
    let seen = seen.images();
    let kept = fit_ranges(&network, &[], &seen, 1000).expect("runs");
    assert_eq!(kept, None, "nothing is clipped that much");
    let fitted = fit_ranges(&network, &[], &seen, -1000).expect("packs");
    let fitted = fitted.expect("other ranges are better");
    assert!(fitted.layers.len() >= 5, "{:?}", fitted.layers);
    let changed = IntegerNetwork::new(&fitted.packed).expect("is a model");
    let classes = [&network, &changed].map(|network| {
        let logits = network.evaluate(&unseen, None).expect("runs").logits;
        logits.chunks_exact(10).map(top_class).collect::<Vec<_>>()
    });
    let pairs = classes[0].iter().zip(&classes[1]);
    let alike = pairs.filter(|(before, after)| before == after).count();
    assert!(alike >= 134, "{alike} of 168");
}

/// The parameters that a record would have become the factory's, and the statistics with them.
#[test]
fn a_program_is_recalibrated_by_the_boards_routine() {
    let Some((weights, data)) = cifar10("a_program_is_recalibrated_by_the_boards_routine", 60)
    else {
        return;
    };
    let program = lower::lower(&quantized_resnet20(&weights, 6), &with_statistics());
    let program = program.expect("lowers");
    let shift: Shift = "contrast:5".parse().expect("is a shift");
    let shifted = shift.apply(&data, 1);
    let seen = shifted.part(0, 48);
    let changed = recalibrated(&program, &seen.images()).expect("runs");
    let [before, after] =
        [&program, &changed].map(|program| pack::pack(program, &[]).expect("packs"));
    let [before, after] =
        [&before, &after].map(|packed| IntegerNetwork::new(packed).expect("is a model"));
    let settings = Settings {
        passes: Passes::Exact,
        prior: 4 * 48,
    };
    let (calibrated_once, _) = calibrated(&before, &seen, settings);
    let pixels = shifted.images();
    let expected = calibrated_once.logits(&pixels).expect("runs");
    let found = Calibrated::new(&after).logits(&pixels).expect("runs");
    // Multipliers that would have left no room for another calibration are rounded to one bit less.
    let close = |(a, b): (&i32, &i32)| a.abs_diff(*b) < 1 << 12;
    let alike = expected
        .iter()
        .zip(&found)
        .filter(|pair| close(*pair))
        .count();
    assert!(
        alike * 100 >= expected.len() * 98,
        "{alike} of {}",
        expected.len()
    );
    let plain = Calibrated::new(&before).logits(&pixels).expect("runs");
    assert_ne!(plain, found);

    // The board's own calibration goes on from there: the same images move it less.
    let distance = |from: &[i32], to: &[i32]| -> u64 {
        let pairs = from.iter().zip(to);
        pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum()
    };
    let (calibrated_twice, _) = calibrated(&after, &seen, settings);
    let again = calibrated_twice.logits(&pixels).expect("runs");
    let (first, second) = (distance(&plain, &found), distance(&found, &again));
    assert!(second < first, "{second} {first}");
}

#[test]
fn a_file_of_the_fast_plan_refuses_the_exact_one() {
    let Some((weights, _)) = cifar10("a_file_of_the_fast_plan_refuses_the_exact_one", 1) else {
        return;
    };
    let packed = packed(&weights, Passes::Fast);
    let network = IntegerNetwork::new(&packed).expect("is a model");
    let plan = Plan::of(network.model()).expect("has a plan");
    assert_eq!(
        (plan.layer_count(), plan.passes(Passes::Fast).count()),
        (5, 5)
    );
    let error = network.plan(Passes::Exact).unwrap_err().to_string();
    assert!(error.contains("5 of its 19 convolutions"), "{error}");
}

#[test]
fn the_command_accepts_what_helps_and_refuses_the_rest() {
    let test = "the_command_accepts_what_helps_and_refuses_the_rest";
    let Some((weights, data)) = cifar10(test, 1200) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model.lowbit");
    pack::write(&model, &packed(&weights, Passes::Fast)).expect("is written");
    let run = |name: &str, data: &Dataset, flags: &[&str]| -> Finished {
        let path = folder.path().join(format!("{name}.npz"));
        write_archive(&path, data).expect("is written");
        let data = format!("npz:{}", path.display());
        let model = model.to_str().expect("UTF-8");
        let fixed = ["calibrate", model, "--on-host", "--json", "--data", &data];
        lowbit_tests::run(fixed.iter().chain(flags))
    };
    let shift: Shift = "contrast:5".parse().expect("is a shift");
    let record = folder.path().join("sensor.record");
    let shifted = shift.apply(&data, 1);
    let out = ["--out", record.to_str().expect("UTF-8")];
    let good = run("contrast", &shifted.part(0, 256), &out);
    assert_eq!(good.code, 0, "{}{}", good.stdout, good.stderr);
    let found = good.json();
    assert_eq!(found["accepted"], true);
    assert_eq!(
        (&found["prior"], &found["refused_priors"]),
        (&64.into(), &json!([]))
    );
    assert!(record.exists());

    // The same images as they were: no prior is good enough, unless the user says which.
    let clean = data.part(0, 256);
    let refused = run("clean", &clean, &[]);
    assert_eq!(refused.code, 1, "{}{}", refused.stdout, refused.stderr);
    let refused = refused.json();
    let priors = refused["refused_priors"].as_array().expect("a list");
    let reasons = priors
        .iter()
        .filter_map(|refused| refused["reason"].as_str());
    assert!(
        reasons
            .chain(refused["reason"].as_str())
            .all(|reason| reason.contains("mean margin falls")),
        "{refused}"
    );
    let priors: Vec<_> = priors.iter().map(|refused| &refused["prior"]).collect();
    assert_eq!(
        (priors, &refused["prior"]),
        (vec![&json!(64), &json!(128)], &json!(256))
    );
    let once = run("clean", &clean, &["--prior", "64"]).json();
    assert_eq!(
        (&once["accepted"], &once["prior"], &once["refused_priors"]),
        (&false.into(), &64.into(), &json!([]))
    );

    let source = format!("npz:{}", folder.path().join("contrast.npz").display());
    let model = model.to_str().expect("UTF-8");
    let top1 = |more: &[&str]| {
        let fixed = ["eval", model, "--json", "--data", &source];
        let found = lowbit_tests::run(fixed.iter().chain(more));
        assert_eq!(found.code, 0, "{}", found.stderr);
        found.json()["top1"].as_f64().expect("a number")
    };
    let with_record = top1(&["--record", record.to_str().expect("UTF-8")]);
    assert!(with_record > top1(&[]) + 20.0, "{with_record}");

    let mut one_class = data.clone();
    let bytes = data.image(0).len();
    let kept: Vec<usize> = (0..data.len())
        .filter(|&image| data.labels[image] == 3)
        .collect();
    one_class.pixels = kept
        .iter()
        .flat_map(|&image| data.image(image).to_vec())
        .collect();
    one_class.labels = vec![3; kept.len()];
    let black = Dataset {
        pixels: vec![0; 100 * bytes],
        labels: vec![0; 100],
        ..data.clone()
    };
    let random = noise_images(100);
    let few = data.part(0, 10);
    let halves = ["--images", "50", "--trial", "50"];
    for (name, data, flags) in [
        ("one class", &one_class, &halves[..]),
        ("black", &black, &halves),
        ("random", &random, &halves),
        ("few", &few, &["--images", "5", "--trial", "5"]),
    ] {
        let refused = run(name, data, flags);
        assert_eq!(
            refused.code, 1,
            "{name}: {}{}",
            refused.stdout, refused.stderr
        );
        let reason = refused.json()["reason"].as_str().map(str::to_owned);
        assert!(reason.is_some_and(|reason| reason.len() > 20), "{name}");
    }
}
