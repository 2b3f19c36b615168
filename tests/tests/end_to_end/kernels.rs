//! What runs on every core computes what the host computes, on the core itself.

use std::f64::consts::PI;
use std::process::Command;

use lowbit_runtime::mfcc::{FEATURES, Quantization, SAMPLES, Scratch, features};
use lowbit_tests::{CORES, qemu};

/// Instructions for the features of one second; what docs/import.md says, and 2 %.
const MOST_ON_M4: u64 = 3_432_000;

#[test]
fn every_core_computes_what_the_reference_and_the_host_do() {
    if !qemu("every_core_computes_what_the_reference_and_the_host_do") {
        return;
    }
    let sounds = [chirp(), square_wave()];
    let expected = sounds.each_ref().map(|sound| {
        let mut bytes = [0; FEATURES];
        features(
            sound,
            Quantization::KEYWORDS,
            &mut Scratch::new(),
            &mut bytes,
        );
        format!("{bytes:?}")
    });
    let directory = tempfile::tempdir().expect("a directory");
    let samples = sounds.as_flattened().iter().flat_map(|x| x.to_le_bytes());
    fs_err::write(
        directory.path().join("sounds.pcm"),
        samples.collect::<Vec<_>>(),
    )
    .expect("a file");
    for core in &CORES {
        let output = core.run("kernel-tests", directory.path());
        let output = output.unwrap_or_else(|reason| panic!("{}: {reason}", core.name));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {text}", core.name);
        assert!(
            text.ends_with("600 convolutions and 300 sums, 0 differences\n"),
            "{}: {text}",
            core.name
        );
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("features "));
        let (instructions, heard): (Vec<_>, Vec<_>) =
            lines.filter_map(|line| line.split_once(' ')).unzip();
        assert_eq!(heard, expected, "{}", core.name);
        if core.name == "M4" {
            let most = instructions.iter().filter_map(|count| count.parse().ok());
            assert!(most.max() <= Some(MOST_ON_M4), "{instructions:?}");
        }
    }
}

#[test]
fn no_layer_or_network_takes_more_instructions_than_the_document_says() {
    if !qemu("no_layer_or_network_takes_more_instructions_than_the_document_says") {
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_bench_table"))
        .arg("--check")
        .output()
        .expect("it starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// From 200 Hz upwards, louder and softer again.
fn chirp() -> [i16; SAMPLES] {
    std::array::from_fn(|n| {
        let second = n as f64 / SAMPLES as f64;
        let phase = 2.0 * PI * (200.0 + 900.0 * second) * second;
        (20_000.0 * phase.sin() * (PI * second).sin()) as i16
    })
}

/// As loud as can be.
fn square_wave() -> [i16; SAMPLES] {
    std::array::from_fn(|n| {
        if (n / 37).is_multiple_of(2) {
            i16::MAX
        } else {
            i16::MIN
        }
    })
}
