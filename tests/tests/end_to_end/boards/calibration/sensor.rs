//! Boards that calibrate themselves by their own sensor.

use lowbit_host::board::{CalibrationOrder, Inputs};
use lowbit_host::calibration::Settings;
use lowbit_host::data::{Dataset, Source};
use lowbit_host::integer::IntegerNetwork;
use lowbit_host::pack;
use lowbit_runtime::calibration::{PAYLOAD_OFFSET, Passes};
use lowbit_tests::{Emulator, Finished, noise, run_build};

use super::{order, record_made_here, small_network};

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
