//! `lowbit doctor`.

use lowbit_tests::{lowbit, qemu};
use serde_json::Value;

/// The checks, with programs looked for in `path` only if that is given, and the exit code.
fn checks(path: Option<&str>) -> (Vec<Value>, Option<i32>) {
    let state = tempfile::tempdir().expect("a temporary folder");
    let mut command = lowbit();
    command
        .args(["doctor", "--json", "--state"])
        .arg(state.path());
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let output = command.output().expect("starts");
    let report: Value = serde_json::from_slice(&output.stdout).expect("is JSON");
    let checks = report["checks"].as_array().expect("a list").clone();
    (checks, output.status.code())
}

fn state_of<'a>(checks: &'a [Value], name: &str) -> &'a Value {
    let check = checks.iter().find(|check| check["name"] == name);
    check.unwrap_or_else(|| panic!("no {name} in {checks:?}"))
}

#[test]
fn a_computer_that_was_set_up_is_in_good_health() {
    if !qemu("a_computer_that_was_set_up_is_in_good_health") {
        return;
    }
    let (checks, code) = checks(None);
    assert_eq!(code, Some(0), "{checks:?}");
    for name in [
        "Rust",
        "thumbv7em-none-eabihf",
        "qemu-system-arm",
        "state directory",
    ] {
        assert_eq!(state_of(&checks, name)["state"], "good", "{name}");
    }
}

#[test]
fn what_is_missing_is_said_with_how_to_get_it() {
    let (checks, code) = checks(Some("/nonexistent"));
    assert_eq!(code, Some(1));
    for (name, state, remedy) in [
        ("Rust", "bad", "https://rustup.rs"),
        ("qemu-system-arm", "bad", "scripts/setup"),
        ("qemu-system-riscv32", "bad", "scripts/setup"),
        ("probe-rs", "optional", "cargo install probe-rs-tools"),
    ] {
        let check = state_of(&checks, name);
        assert_eq!(check["state"], state, "{check}");
        assert_eq!(check["found"], "not installed", "{check}");
        let told = check["remedy"].as_str().unwrap_or_default();
        assert!(told.contains(remedy), "{check}");
        assert_ne!(check["purpose"], "", "{check}");
    }
}
