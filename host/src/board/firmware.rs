//! Where a board's firmware is.

use std::path::{Path, PathBuf};

use super::BoardSpec;
use super::registry::NATIVE;

/// Environment variable that names a directory with firmware, one ELF file per board, called like
/// the board's package.
pub const FIRMWARE_DIRECTORY_VARIABLE: &str = "LOWBIT_FIRMWARE_DIR";

/// There is no firmware.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no firmware for `{board}`: {} missing; build it with `scripts/build-firmware {board}`",
    list(looked)
)]
pub struct FirmwareError {
    /// The board.
    pub board: String,
    /// Files that would have been taken.
    pub looked: Vec<PathBuf>,
}

fn list(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths
        .iter()
        .map(|path| format!("`{}`", path.display()))
        .collect();
    names.join(" and ")
}

/// The firmware of `board`: from `directory` (usually the value of
/// [`FIRMWARE_DIRECTORY_VARIABLE`]), else where cargo puts it in the source tree that this program
/// was built from.
///
/// # Errors
/// If there is none; the error says how to build it.
pub fn find(board: &BoardSpec, directory: Option<&Path>) -> Result<PathBuf, FirmwareError> {
    let mut built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards/target");
    if board.target != NATIVE {
        built.push(&board.target);
    }
    built.push("release");
    let directories = directory.map(Path::to_owned).into_iter().chain([built]);
    let looked: Vec<_> = directories
        .map(|directory| directory.join(&board.package))
        .collect();
    match looked.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.canonicalize().unwrap_or_else(|_| path.clone())),
        None => Err(FirmwareError {
            board: board.name.clone(),
            looked,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Registry;

    #[test]
    fn the_given_directory_comes_first() {
        let registry = Registry::embedded().expect("parses");
        let board = registry.find("mps2-an386").expect("is there");
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join(&board.package);
        fs_err::write(&path, "elf").expect("written");
        let found = find(board, Some(directory.path())).expect("is there");
        assert_eq!(found, path.canonicalize().expect("exists"));
    }

    #[test]
    fn a_missing_firmware_is_answered_with_the_command_that_builds_it() {
        let registry = Registry::embedded().expect("parses");
        let mut board = registry.find("mps2-an386").expect("is there").clone();
        board.package = "no-such-package".into();
        let shown = find(&board, None).expect_err("missing").to_string();
        assert!(
            shown.contains("scripts/build-firmware mps2-an386"),
            "{shown}"
        );
        assert!(shown.contains("no-such-package"), "{shown}");
    }
}
