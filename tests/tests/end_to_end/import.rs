//! Networks of the user, by the commands that a user types.

use std::path::Path;
#[cfg(target_os = "linux")]
use std::{process::Stdio, thread, time::Duration};

use lowbit_host::dfq::{Config, Trainer};
use lowbit_host::graph::Graph;
#[cfg(target_os = "linux")]
use lowbit_host::import::Checkpoint;
use lowbit_host::integer::IntegerNetwork;
use lowbit_host::{import, lower, pack};
use lowbit_runtime::mfcc::{FEATURES, Quantization, Scratch, features};
use lowbit_tests::{data, noise, random_checkpoint, run};
#[cfg(target_os = "linux")]
use lowbit_tests::{lowbit, write_onnx, write_pytorch};

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

    // The memory is the same at all widths, and any size will do: nearly all are the widest.
    let in_memory = |room: &str| {
        let flags = ["suggest-bits", "--target-ram", room, "--images", "8"];
        let widths = ["--least", "7", "--most", "8", "--json"];
        run(flags.into_iter().chain(widths).chain(checkpoint))
    };
    let fits = in_memory("48KiB");
    assert_eq!(fits.code, 0, "{}", fits.stderr);
    let bits = fits.json()["bits"].to_string();
    assert!(bits.contains("w8a4"), "{bits}");
    let impossible = in_memory("30KiB");
    assert_eq!(impossible.code, 1, "{}", impossible.stderr);
    let shown = &impossible.stderr;
    assert!(shown.contains("more than --target-ram"), "{shown}");

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

/// The labels of MLPerf Tiny's keywords, in its order.
const KEYWORDS: [&str; 12] = [
    "down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "silence", "unknown",
];

/// Two short sounds for each keyword: WAV files in `folder`, and a file of records as those of the
/// benchmark.
fn write_keywords(folder: &Path, records: &Path) {
    let format = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut written = Vec::new();
    for take in 0..2 {
        for (class, name) in KEYWORDS.iter().enumerate() {
            let sound: Vec<i16> = (0..9000 + 300 * class)
                .map(|n| {
                    let second = n as f64 / 16_000.0;
                    let hertz = 150.0 * (class + 2 * take + 1) as f64 * (1.0 + second);
                    (9000.0 * (std::f64::consts::TAU * hertz * second).sin().powi(3)) as i16
                })
                .collect();
            let class_folder = folder.join(name);
            fs_err::create_dir_all(&class_folder).expect("a folder");
            let path = class_folder.join(format!("{take}.wav"));
            let mut writer = hound::WavWriter::create(path, format).expect("a file");
            for &sample in &sound {
                writer.write_sample(sample).expect("a sample");
            }
            writer.finalize().expect("a whole file");

            let mut pixels = [0; FEATURES];
            let scratch = &mut Scratch::new();
            features(&sound, Quantization::KEYWORDS, scratch, &mut pixels);
            written.push(class as u8);
            written.extend(pixels.map(|pixel| pixel ^ 0x80));
        }
    }
    fs_err::write(records, written).expect("a file");
}

#[test]
fn sounds_are_what_a_board_makes_of_them() {
    let test = "sounds_are_what_a_board_makes_of_them";
    let Some(network) = data(test, "mlperf_tiny_kws_dscnn.safetensors") else {
        return;
    };
    let network = network.display().to_string();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    write_keywords(&path("sounds"), &path("records.bin"));
    let sounds = format!("wav:{}", path("sounds").display());
    let records = format!("kws01:{}", path("records.bin").display());
    let (out, model) = (path("run"), path("model.lowbit"));
    let (out, model) = (out.display().to_string(), model.display().to_string());

    let quantize = ["quantize", "--method", "ptq", "--data", &sounds];
    let checkpoint = ["--weights", &network, "--bits", "w8a8", "--out", &out];
    let finished = run(quantize.into_iter().chain(checkpoint));
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let packed = run(["pack", &out, "--out", &model]);
    assert_eq!(packed.code, 0, "{}", packed.stderr);

    let eval = |arguments: &[&str], source: &str| {
        let fixed = ["eval", "--json", "--data", source];
        let finished = run(fixed.iter().chain(arguments));
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        finished.json()
    };
    for arguments in [&[model.as_str()][..], &[&network, "--float"]] {
        let (heard, read) = (eval(arguments, &sounds), eval(arguments, &records));
        assert_eq!(heard["images"], 24);
        for figure in ["top1", "top5", "integers"] {
            if figure == "integers" && arguments.len() == 2 {
                continue;
            }
            let (heard, read) = (&heard[figure], &read[figure]);
            assert!(!heard.is_null() && heard == read, "{heard} and {read}");
        }
    }
}

#[test]
fn a_network_for_imagenet_goes_from_checkpoint_to_integers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let weights = folder.path().join("resnet18.safetensors");
    random_checkpoint("resnet18", &weights);
    let graph = import::open(&weights, None, None, None).expect("is known");
    assert_eq!(graph.graph.name, "resnet18");
    let config = Config {
        bits: "w4a4".parse().expect("widths"),
        epochs: 1,
        warmup_epochs: 0,
        iterations: 2,
        batch: 2,
        ..Config::default()
    };
    let mut trainer = Trainer::new(graph.graph, config).expect("has BatchNorm");
    let before = trainer.teacher().clone();
    for _ in 0..2 {
        trainer.step().expect("losses are numbers");
    }
    let network = trainer.quantized_graph().expect("has ranges");
    assert!(has_learned(&before, &network.graph));
    let program = lower::lower(&network, &lower::Options::default()).expect("has integer form");
    let file = pack::pack(&program, &[]).expect("packs");
    // Of 11.2 million parameters at half a byte each.
    assert!(
        (5_500_000..6_000_000).contains(&file.len()),
        "{} bytes",
        file.len()
    );
    let integer = IntegerNetwork::new(&file).expect("is a model");
    let images = noise([224, 224, 3], 1);
    let evaluation = integer.evaluate(&images, None).expect("runs");
    assert_eq!(evaluation.ranks.len(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_checkpoint_is_held_in_memory_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let weights = path("resnet50.safetensors");
    random_checkpoint("resnet50", &weights);
    let checkpoint = Checkpoint::read(&weights).expect("is a checkpoint");
    write_pytorch(&checkpoint, &path("resnet50.pth"));
    let imported = import::open(&weights, None, None, None).expect("is known");
    write_onnx(&imported.graph, &path("resnet50.onnx"));
    for kind in ["safetensors", "pth", "onnx"] {
        let weights = path("resnet50").with_extension(kind);
        let size = fs_err::metadata(&weights).expect("is written").len();
        let peak = peak_of_import(&weights);
        assert!(peak > size, "{kind}: {peak} bytes, less than the tensors");
        assert!(peak < 2 * size, "{kind}: {peak} bytes for a file of {size}");
    }
}

/// Most memory in bytes that `lowbit` has at once when it does nothing but import a network that
/// reads 224 x 224 pixels.
#[cfg(target_os = "linux")]
fn peak_of_import(weights: &Path) -> u64 {
    // Images of another size are refused as soon as the network is known.
    let mut child = lowbit()
        .args(["eval", "--float", "--data", "shapes", "--limit", "1"])
        .args(["--normalization", "imagenet"])
        .arg(weights)
        .stderr(Stdio::piped())
        .spawn()
        .expect("lowbit starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().expect("lowbit runs").is_none() {
        peak = peak.max(peak_memory(&status).unwrap_or(0));
        thread::sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output().expect("lowbit ends");
    let refusal = String::from_utf8_lossy(&output.stderr);
    let expected = "the network takes [224, 224, 3]";
    assert!(refusal.contains(expected), "{refusal}");
    peak
}

/// Most resident memory so far in bytes; none for a process that has just ended.
#[cfg(target_os = "linux")]
fn peak_memory(status: &str) -> Option<u64> {
    let status = fs_err::read_to_string(status).ok()?;
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(1024 * kibibytes)
}

/// Whether any parameter is another one than before.
fn has_learned(before: &Graph, after: &Graph) -> bool {
    let values = |graph: &Graph| {
        let parameters = graph.parameters().into_iter();
        let values = parameters.map(|(_, tensor)| tensor.flatten_all()?.to_vec1::<f32>());
        values
            .collect::<candle_core::Result<Vec<_>>>()
            .expect("numbers")
    };
    values(before) != values(after)
}
