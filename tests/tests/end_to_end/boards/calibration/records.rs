//! What boards make of images is what this computer makes of them.

use lowbit_host::board::{BoardCalibration, CalibrationOrder, bench};
use lowbit_host::calibration::Settings;
use lowbit_host::data::{Dataset, Source};
use lowbit_host::integer::IntegerNetwork;
use lowbit_host::shifts::Shift;
use lowbit_runtime::calibration::Passes;
use lowbit_tests::{Emulator, noise, noise_images};

use super::{order, record_made_here, resnet20, small_network, verified};

/// Those that calibrate. The lm3s6965evb has no flash for the code.
const BOARDS: [&str; 6] = [
    "b-l475e-iot01a",
    "microbit",
    "mps2-an386",
    "mps2-an500",
    "mps2-an505",
    "rv32-virt",
];

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
