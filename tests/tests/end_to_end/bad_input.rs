//! Files and flags that are wrong end in one clear message and exit code 2, never a panic.

use std::path::{Path, PathBuf};

use lowbit_tests::{Finished, data, random_network, run};
use tempfile::TempDir;

/// A packed model in a folder of its own.
fn packed() -> (TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.lowbit");
    let bytes = random_network("resnet8", 4);
    fs_err::write(&path, &bytes).expect("the model is written");
    (folder, path, bytes)
}

fn assert_refused(finished: &Finished, expected: &[&str]) {
    assert_eq!(finished.code, 2, "{}", finished.stderr);
    assert_eq!(finished.stdout, "");
    assert_eq!(
        finished.stderr.matches("error:").count(),
        1,
        "{}",
        finished.stderr
    );
    for part in expected {
        assert!(
            finished.stderr.contains(part),
            "`{part}` is not in: {}",
            finished.stderr
        );
    }
}

fn inspect(path: &Path) -> Finished {
    run(["inspect".as_ref(), path.as_os_str()])
}

#[test]
fn broken_model_files_are_refused_by_what_is_wrong() {
    let (_folder, path, bytes) = packed();
    assert_eq!(inspect(&path).code, 0);

    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 4;
    let mut version = bytes.clone();
    version[8] = 77;
    let mut magic = bytes.clone();
    magic[0] = b'x';
    let cases: [(&[u8], &[&str]); 6] = [
        (&bytes[..bytes.len() - 1], &["model.lowbit", "bytes long"]),
        (&bytes[..10], &["model.lowbit"]),
        (&[], &["model.lowbit"]),
        (&flipped, &["checksum"]),
        (&version, &["version 77"]),
        (&magic, &["model.lowbit", "lowbit"]),
    ];
    for (content, expected) in cases {
        fs_err::write(&path, content).expect("the model is written");
        assert_refused(&inspect(&path), expected);
    }
    fs_err::remove_file(&path).expect("the model is deleted");
    assert_refused(&inspect(&path), &["model.lowbit", "No such file"]);
}

#[test]
fn data_of_the_wrong_size_or_kind_is_refused() {
    let (folder, path, _) = packed();
    let images = folder.path().join("images.bin");
    fs_err::write(&images, vec![0; 3072]).expect("the images are written");
    let eval = |source: String| run(["eval", &path.display().to_string(), "--data", &source]);
    let cifar = format!("cifar10:{}", images.display());
    assert_refused(&eval(cifar), &["3072 bytes", "3073"]);
    assert_refused(&eval("cifar10:/no/such/file".into()), &["/no/such/file"]);
    let unknown = eval("imagenet:x".into());
    assert_eq!(unknown.code, 2);
    assert!(
        unknown.stderr.contains("cifar100:PATH"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn the_model_of_another_input_size_names_both() {
    let (folder, path, _) = packed();
    let [images, labels] = ["images", "labels"].map(|name| folder.path().join(name));
    let header = |magic: u32, sizes: &[u32]| {
        let words = [magic].into_iter().chain(sizes.iter().copied());
        words.flat_map(u32::to_be_bytes).collect::<Vec<_>>()
    };
    let pixels = [header(0x803, &[1, 28, 28]), vec![0; 784]].concat();
    fs_err::write(&images, pixels).expect("the images are written");
    fs_err::write(&labels, [header(0x801, &[1]), vec![3]].concat()).expect("labels are written");
    let source = format!("idx:{},{}", images.display(), labels.display());
    let finished = run(["eval", &path.display().to_string(), "--data", &source]);
    assert_refused(&finished, &["28", "32"]);
}

#[test]
fn weights_of_another_architecture_are_one_clear_message() {
    let test = "weights_of_another_architecture_are_one_clear_message";
    let Some(weights) = data(test, "cifar100_resnet32.safetensors") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("run");
    let quantize = |network: &str, weights: &Path, classes: &str| {
        let weights = weights.display().to_string();
        let out = out.display().to_string();
        run([
            "quantize",
            "--network",
            network,
            "--weights",
            &weights,
            "--classes",
            classes,
            "--bits",
            "w4a4",
            "--out",
            &out,
        ])
    };
    assert_refused(
        &quantize("resnet56", &weights, "100"),
        &["resnet56", "layer1.5"],
    );
    assert_refused(&quantize("resnet20", &weights, "100"), &["resnet32"]);
    assert_refused(&quantize("resnet32", &weights, "10"), &["100", "10"]);
    assert_refused(
        &quantize("resnet99", &weights, "100"),
        &["resnet99", "resnet44"],
    );
    let truncated = folder.path().join("truncated.safetensors");
    let content = fs_err::read(&weights).expect("the weights are read");
    fs_err::write(&truncated, &content[..content.len() / 2]).expect("the weights are written");
    assert_refused(
        &quantize("resnet32", &truncated, "100"),
        &["truncated.safetensors"],
    );
    assert!(!out.exists(), "a refused run leaves nothing behind");
}

#[test]
fn bits_presets_and_unfinished_runs_are_explained() {
    let finished = run([
        "quantize",
        "--network",
        "resnet20",
        "--weights",
        "x",
        "--bits",
        "w1a9",
        "--out",
        "y",
    ]);
    assert_eq!(finished.code, 2);
    assert!(finished.stderr.contains("w1a9"), "{}", finished.stderr);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run_folder = folder.path().display().to_string();
    let finished = run(["pack", &run_folder, "--out", "never.lowbit"]);
    assert_refused(&finished, &["lowbit quantize"]);
    assert!(!Path::new("never.lowbit").exists());
}

#[test]
fn an_accuracy_below_the_bound_is_the_answer_no() {
    let (_folder, path, _) = packed();
    let path = path.display().to_string();
    let eval = |least: &str| {
        run([
            "eval",
            &path,
            "--data",
            "shapes",
            "--limit",
            "20",
            "--min-top1",
            least,
            "--json",
        ])
    };
    let finished = eval("100");
    assert_eq!(finished.code, 1, "{}", finished.stderr);
    assert_eq!(finished.json()["images"], 20);
    assert_eq!(eval("0").code, 0);
}
