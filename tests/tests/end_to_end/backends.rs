//! The same packed file on every processor of this computer, by the commands that a user types.

use std::path::{Path, PathBuf};

use lowbit_host::{lower, pack};
use lowbit_tests::{Finished, NetworkBuilder, Shape, random_network, run};

/// Leaves a batch of 16 incomplete.
const IMAGES: &str = "17";
/// A GPU that a processor stands in for takes a second for two or three images.
#[cfg(feature = "wgpu")]
const IMAGES_OF_GPU: &str = "3";

/// Images of 32 x 32 x 3 pixels through depthwise and pointwise convolutions.
fn depthwise_network(bits: u8) -> Vec<u8> {
    let bits = [bits; 2];
    let mut builder = NetworkBuilder::new("depthwise", [3, 32, 32]);
    let stem = Shape {
        stride: 2,
        ..Shape::dense(3, 10, 3)
    };
    let mut image = builder.conv("stem", &stem, bits, builder.input());
    for (name, stride, channels) in [("first", 1, [10, 24]), ("second", 2, [24, 30])] {
        let depthwise = Shape {
            stride,
            groups: channels[0],
            ..Shape::dense(channels[0], channels[0], 3)
        };
        image = builder.conv(&format!("{name}.depthwise"), &depthwise, bits, image);
        let pointwise = Shape::dense(channels[0], channels[1], 1);
        image = builder.conv(&format!("{name}.pointwise"), &pointwise, bits, image);
    }
    let network = builder.classify(30, 10, image);
    let program = lower::lower(&network, &lower::Options::default()).expect("lowers");
    pack::pack(&program, &[]).expect("packs")
}

/// ResNet-20 and a network with depthwise layers, with their names.
fn networks(bits: u8) -> [(&'static str, Vec<u8>); 2] {
    [
        ("resnet20", random_network("resnet20", bits)),
        ("depthwise", depthwise_network(bits)),
    ]
}

fn write(folder: &Path, name: &str, packed: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs_err::write(&path, packed).expect("is written");
    path
}

fn command(name: &str, model: &Path, flags: &[&str]) -> Finished {
    let model = model.display().to_string();
    run([name, &model].into_iter().chain(flags.iter().copied()))
}

fn eval(model: &Path, backend: &str, images: &str) -> serde_json::Value {
    let data = ["--data", "shapes", "--limit", images, "--json"];
    let finished = command(
        "eval",
        model,
        &[&data[..], &["--backend", backend]].concat(),
    );
    assert_eq!(finished.code, 0, "{backend}: {}", finished.stderr);
    let result = finished.json();
    assert_eq!(result["integers"]["backend"], backend);
    result
}

/// Every width, by `backend` and by the kernels that every board has.
fn assert_same_logits(backend: &str, images: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut checksums = Vec::new();
    for bits in 2..=8 {
        for (name, packed) in networks(bits) {
            let model = write(folder.path(), &format!("{name}-{bits}"), &packed);
            let expected = eval(&model, "portable", images);
            let found = eval(&model, backend, images);
            for (object, key) in [("integers", "logits_crc32"), ("", "top1")] {
                let of = |result: &serde_json::Value| match object {
                    "" => result[key].clone(),
                    object => result[object][key].clone(),
                };
                assert!(!of(&expected).is_null(), "`{key}` in {expected}");
                assert_eq!(of(&found), of(&expected), "{backend}, {name}, {bits} bits");
            }
            checksums.push(expected["integers"]["logits_crc32"].to_string());
        }
    }
    // Checksums that are always the same would show nothing.
    let count = checksums.len();
    checksums.sort();
    checksums.dedup();
    assert_eq!(checksums.len(), count);
}

#[test]
fn vector_instructions_compute_what_the_portable_kernels_do() {
    assert_same_logits("cpu", IMAGES);
}

#[test]
fn this_computer_is_measured() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = write(folder.path(), "model", &depthwise_network(4));
    let flags = ["--backend", "cpu,portable", "--batch", "1,20"];
    let finished = command(
        "bench",
        &model,
        &[&flags[..], &["--rounds", "1", "--json"]].concat(),
    );
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let result = finished.json();
    for (index, backend) in ["cpu", "portable"].into_iter().enumerate() {
        let result = &result["backends"][index];
        assert_eq!(result["backend"], backend);
        assert_eq!(result["software"], false);
        for (index, batch) in [1, 20].into_iter().enumerate() {
            let speed = &result["speeds"][index];
            assert_eq!(speed["batch"], batch);
            let rate = speed["images_per_second"].as_f64();
            assert!(rate.is_some_and(|rate| rate > 1.0), "{result}");
        }
    }
    let text = command("bench", &model, &["--batch", "2", "--rounds", "1"]).stdout;
    assert!(
        text.contains("images/s") && text.contains("threads"),
        "{text}"
    );
}

#[test]
fn flags_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = write(folder.path(), "model", &depthwise_network(4));
    for (flags, words) in [
        (&["--batch", "0"][..], "1..=65536"),
        (&["--rounds", "0"], "1..=10"),
        (&["--backend", "gpu"], "there are cpu, wgpu and portable"),
        (
            &["--backend", "cpu", "--board", "mps2-an386"],
            "cannot be used with",
        ),
        (&["--adapter", "nvidia"], "--backend"),
    ] {
        let finished = command("bench", &model, flags);
        assert_eq!(finished.code, 2, "{flags:?}");
        assert!(
            finished.stderr.contains(words),
            "{flags:?}: {}",
            finished.stderr
        );
    }
}

#[cfg(not(feature = "wgpu"))]
#[test]
fn a_build_without_gpus_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = write(folder.path(), "model", &depthwise_network(4));
    let finished = command("bench", &model, &["--backend", "wgpu"]);
    assert_eq!(finished.code, 2);
    for words in ["no backend for GPUs", "--features wgpu", "--backend cpu"] {
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    }
}

#[cfg(feature = "wgpu")]
mod on_a_gpu {
    use lowbit_tests::gpu;

    use super::*;

    #[test]
    fn gpus_compute_what_the_portable_kernels_do() {
        if gpu("gpus_compute_what_the_portable_kernels_do") {
            assert_same_logits("wgpu", IMAGES_OF_GPU);
        }
    }

    #[test]
    fn gpus_are_measured_and_software_is_told_apart() {
        if !gpu("gpus_are_measured_and_software_is_told_apart") {
            return;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let model = write(folder.path(), "model", &depthwise_network(4));
        let boards = run(["boards", "--json"]).json();
        let adapter = &boards["adapters"][0];
        let name = adapter["name"].as_str().expect("a name");
        let flags = ["--backend", "wgpu", "--adapter", name, "--batch", "3"];
        let finished = command(
            "bench",
            &model,
            &[&flags[..], &["--rounds", "1", "--json"]].concat(),
        );
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        let result = &finished.json()["backends"][0];
        assert_eq!(result["software"], adapter["software"]);
        assert_eq!(
            finished.stderr.contains("is no GPU"),
            adapter["software"] == true
        );
        let device = result["device"].as_str().expect("a name");
        assert!(device.contains(name), "{device}");
        let peak = result["peak"]["packed_macs_per_second"].as_f64();
        assert!(peak.is_some_and(|peak| peak > 0.0), "{result}");
        let share = result["speeds"][0]["share_of_peak"].as_f64();
        assert!(
            share.is_none_or(|share| share > 0.0 && share < 2.0),
            "{result}"
        );
    }

    #[test]
    fn an_unknown_gpu_is_refused_with_what_there_is() {
        if !gpu("an_unknown_gpu_is_refused_with_what_there_is") {
            return;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let model = write(folder.path(), "model", &depthwise_network(4));
        let flags = ["--backend", "wgpu", "--adapter", "no such"];
        let finished = command("bench", &model, &flags);
        assert_eq!(finished.code, 2);
        for words in ["no GPU `no such`", "there are", "--backend cpu"] {
            assert!(finished.stderr.contains(words), "{}", finished.stderr);
        }
    }

    /// What a computer without graphics driver says.
    #[test]
    fn a_computer_without_gpu_says_what_to_do() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let model = write(folder.path(), "model", &depthwise_network(4));
        let output = lowbit_tests::lowbit()
            .args(["bench", "--backend", "wgpu"])
            .arg(&model)
            .env("VK_DRIVER_FILES", "/nonexistent")
            .env("VK_ICD_FILENAMES", "/nonexistent")
            .output()
            .expect("lowbit starts");
        assert_eq!(output.status.code(), Some(2));
        let stderr = String::from_utf8_lossy(&output.stderr);
        for words in ["no GPU found", "scripts/setup --vulkan", "--backend cpu"] {
            assert!(stderr.contains(words), "{stderr}");
        }
    }
}
