//! Networks of the user, by the commands that a user types.

use lowbit_tests::{data, run};

const NORMALIZED: [&str; 4] = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"];

#[test]
fn networks_are_listed_with_their_sizes() {
    let finished = run(["networks", "--json"]);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let rows = finished.json();
    let rows = rows.as_array().expect("a list");
    let row = |name: &str| {
        let found = rows.iter().find(|row| row["name"] == name);
        found.unwrap_or_else(|| panic!("no `{name}`")).clone()
    };
    assert_eq!(row("resnet20")["multiplications"], 40_551_040);
    assert_eq!(row("mobilenetv2")["parameters"], 3_504_872);
    let text = run(["networks"]).stdout;
    assert_eq!(text.lines().count(), rows.len() + 1);
}

#[test]
fn an_onnx_file_needs_its_normalisation_and_nothing_else() {
    let test = "an_onnx_file_needs_its_normalisation_and_nothing_else";
    let (Some(network), Some(images)) = (
        data(test, "cifar10_resnet20.onnx"),
        data(test, "cifar10_test.bin"),
    ) else {
        return;
    };
    let (network, images) = (
        network.display().to_string(),
        format!("cifar10:{}", images.display()),
    );
    let eval = [
        "eval", &network, "--float", "--data", &images, "--limit", "200", "--json",
    ];
    let finished = run(eval.into_iter().chain(NORMALIZED));
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let json = finished.json();
    assert_eq!(
        (&json["arithmetic"], &json["images"]),
        (&"float".into(), &200.into())
    );
    assert!(json["top1"].as_f64().expect("a number") > 88.0, "{json}");

    let missing = run(eval);
    assert_eq!(missing.code, 2);
    assert!(
        missing.stderr.contains("--mean 0.485,0.456,0.406"),
        "{}",
        missing.stderr
    );
    let wrong = run(eval.into_iter().chain(["--mean", "0.5", "--std", "0"]));
    assert!(
        wrong.stderr.contains("do not belong together"),
        "{}",
        wrong.stderr
    );
    let named = run(eval
        .into_iter()
        .chain(["--network", "resnet20"])
        .chain(NORMALIZED));
    assert!(
        named.stderr.contains("leave out `--network resnet20`"),
        "{}",
        named.stderr
    );
}

#[test]
fn a_file_without_statistics_says_how_to_keep_them() {
    let test = "a_file_without_statistics_says_how_to_keep_them";
    let Some(network) = data(test, "cifar10_resnet20_bn_folded.onnx") else {
        return;
    };
    let network = network.display().to_string();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("run").display().to_string();
    let quantize = [
        "quantize",
        "--weights",
        &network,
        "--bits",
        "w4a4",
        "--out",
        &out,
    ];
    let finished = run(quantize.into_iter().chain(NORMALIZED));
    assert_eq!(finished.code, 2);
    for part in ["has no BatchNorm", "TrainingMode.PRESERVE", "--method ptq"] {
        assert!(finished.stderr.contains(part), "{}", finished.stderr);
    }
    assert!(!folder.path().join("run").exists());
}

#[test]
fn suggested_widths_fit_the_file_that_is_packed_with_them() {
    let test = "suggested_widths_fit_the_file_that_is_packed_with_them";
    let (Some(network), Some(images)) = (
        data(test, "cifar10_resnet20.safetensors"),
        data(test, "cifar10_test.bin"),
    ) else {
        return;
    };
    let network = network.display().to_string();
    let images = format!("cifar10:{}", images.display());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (settings, out, model) = (path("widths.toml"), path("run"), path("model.lowbit"));
    let checkpoint = ["--network", "resnet20", "--weights", &network];
    let suggest = |size: &str| {
        let flags = [
            "suggest-bits",
            "--target-size",
            size,
            "--images",
            "8",
            "--least",
            "3",
            "--json",
            "--out",
            &settings,
        ];
        run(flags.into_iter().chain(checkpoint))
    };
    let impossible = suggest("100KB");
    assert_eq!(impossible.code, 1, "{}", impossible.stderr);
    assert!(
        impossible.stderr.contains("at least"),
        "{}",
        impossible.stderr
    );

    let finished = suggest("140KB");
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let suggestion = finished.json();
    let bytes = suggestion["model_bytes"].as_u64().expect("a number");
    // Hardly anything of the size is left over.
    assert!((139_000..=140_000).contains(&bytes), "{suggestion}");

    let ranges = [
        "quantize",
        "--method",
        "ptq",
        "--data",
        &images,
        "--data-limit",
        "64",
        "--config",
        &settings,
        "--out",
        &out,
    ];
    let finished = run(ranges.into_iter().chain(checkpoint));
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let packed = run(["pack", &out, "--out", &model, "--json"]);
    assert_eq!(packed.code, 0, "{}", packed.stderr);
    let packed = packed.json()["model_bytes"].as_u64().expect("a number");
    // Dead channels depend on the ranges.
    assert!(packed.abs_diff(bytes) < 1000, "{packed} and {bytes}");
}
