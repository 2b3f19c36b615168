//! Embeds the description of every board, so that the binary knows them wherever it runs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let boards = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../boards");
    // A new board is a new member there. The folder itself also holds what cargo builds.
    let members = boards.join("Cargo.toml");
    println!("cargo::rerun-if-changed={}", members.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(&boards)? {
        let file = entry?.path().join("board.toml");
        if file.is_file() {
            println!("cargo::rerun-if-changed={}", file.display());
            files.push(file.canonicalize()?);
        }
    }
    files.sort();
    fs::write(
        PathBuf::from(env::var("OUT_DIR")?).join("boards.rs"),
        array(&files)?,
    )?;
    Ok(())
}

/// Source of an array of file names and contents.
fn array(files: &[PathBuf]) -> Result<String, std::fmt::Error> {
    let mut source = String::from("[\n");
    for file in files {
        let path = file.display().to_string();
        writeln!(source, "    ({path:?}, include_str!({path:?})),")?;
    }
    source.push(']');
    Ok(source)
}
