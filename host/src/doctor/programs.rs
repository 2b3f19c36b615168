//! Compilers, emulators and other programs.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Check, State, names};
use crate::board::install::{ESPFLASH, PROBE_RS, how_to_get};
use crate::board::{BoardSpec, NATIVE};

/// Major and minor version that the source needs, as in `Cargo.toml`.
const LEAST_RUST: &str = env!("CARGO_PKG_RUST_VERSION");
/// A compiler of a Linux distribution, which may come with the source of `core`.
const DISTRIBUTED_RUST: &str = "/usr/bin/rustc";

pub(super) fn rust() -> Check {
    let (name, purpose) = ("Rust", "to build firmware");
    let remedy = || format!("install Rust {LEAST_RUST} or newer: https://rustup.rs");
    match first_line("rustc", "--version") {
        Ok(found) if is_recent(&found) => Check::good(name, purpose, found),
        Ok(found) => Check::lacking(State::Bad, name, purpose, found, remedy()),
        Err(reason) => Check::lacking(State::Bad, name, purpose, reason, remedy()),
    }
}

/// Whether `rustc 1.95.0 (...)` is new enough.
fn is_recent(version: &str) -> bool {
    let numbers = |text: &str| {
        let mut numbers = text.split('.').map(str::parse::<u32>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    let found = version.split(' ').nth(1).and_then(numbers);
    found.is_some() && found >= numbers(LEAST_RUST)
}

/// What boards' firmware is compiled for.
pub(super) fn targets(boards: &[BoardSpec]) -> Vec<Check> {
    let targets: BTreeSet<&str> = boards.iter().map(|board| board.target.as_str()).collect();
    let libraries = sysroot("rustc").map(|root| root.join("lib/rustlib"));
    let builds_core = sysroot(DISTRIBUTED_RUST)
        .is_some_and(|root| root.join("lib/rustlib/src/rust/library/core").is_dir());
    let check = |target: &str| {
        let purpose = names(boards, |board| board.target == target);
        let has = |libraries: &PathBuf| libraries.join(target).join("lib").is_dir();
        if libraries.as_ref().is_some_and(has) {
            return Check::good(target, &purpose, "installed".to_owned());
        }
        if builds_core {
            let found = format!("{DISTRIBUTED_RUST} builds it along");
            return Check::good(target, &purpose, found);
        }
        let remedy = format!("run `rustup target add {target}`, or `scripts/setup --all-boards`");
        Check::lacking(State::Bad, target, &purpose, "not installed".into(), remedy)
    };
    let targets = targets.into_iter().filter(|target| *target != NATIVE);
    targets.map(check).collect()
}

fn sysroot(compiler: &str) -> Option<PathBuf> {
    let output = Command::new(compiler).args(["--print", "sysroot"]).output();
    let output = output.ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(Path::new(text.trim()).to_owned())
}

pub(super) fn emulators(boards: &[BoardSpec]) -> Vec<Check> {
    let program = |board: &BoardSpec| Some(board.qemu.as_ref()?.program.clone());
    let programs: BTreeSet<String> = boards.iter().filter_map(program).collect();
    let check = |name: &String| {
        let purpose = names(boards, |board| program(board).as_ref() == Some(name));
        let remedy = format!("run `scripts/setup --all-boards`, or install the package of {name}");
        match first_line(name, "--version") {
            Ok(found) => Check::good(name, &purpose, found),
            Err(reason) => Check::lacking(State::Bad, name, &purpose, reason, remedy),
        }
    };
    programs.iter().map(check).collect()
}

/// Programs that put firmware onto boards.
pub(super) fn installers(boards: &[BoardSpec]) -> Vec<Check> {
    let check = |program: &str| {
        let uses = |board: &BoardSpec| {
            let installer = board.installer.as_ref();
            installer.is_some_and(|installer| installer.name() == program)
        };
        let boards = names(boards, uses);
        let purpose = format!("`flash --firmware` of {boards}");
        let remedy = how_to_get(program).to_owned();
        (!boards.is_empty()).then(|| match first_line(program, "--version") {
            Ok(found) => Check::good(program, &purpose, found),
            Err(reason) => Check::lacking(State::Optional, program, &purpose, reason, remedy),
        })
    };
    [PROBE_RS, ESPFLASH].into_iter().filter_map(check).collect()
}

/// The first line that a program prints, or why there is none.
fn first_line(program: &str, argument: &str) -> Result<String, String> {
    let output = Command::new(program).arg(argument).output();
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "not installed".to_owned(),
        _ => error.to_string(),
    })?;
    if !output.status.success() {
        return Err(format!("does not run ({})", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, recent) in [
            ("rustc 1.95.0 (abc 2026-03-21)", true),
            ("rustc 1.101.0", true),
            ("rustc 2.0.0", true),
            ("rustc 1.94.9", false),
            ("rustc 1.9.0", false),
            ("something else", false),
            ("", false),
        ] {
            assert_eq!(is_recent(version), recent, "{version}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_told_from_one_that_fails() {
        assert_eq!(
            first_line("no such program", "").unwrap_err(),
            "not installed"
        );
        assert!(
            first_line("false", "")
                .unwrap_err()
                .starts_with("does not run")
        );
    }
}
