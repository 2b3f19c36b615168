//! The command: acceptance, refusals, rollback.

use lowbit_host::data::{Dataset, Source, write_archive};
use lowbit_host::pack;
use lowbit_host::shifts::Shift;
use lowbit_runtime::testing::{PIXELS, tiny_model};
use lowbit_tests::{Emulator, Finished, noise_images};

use super::resnet20;

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
