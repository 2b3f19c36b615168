//! Takes in the key that models must be signed with.

use std::path::PathBuf;
use std::{env, error::Error, fs};

/// The public key's file, as `lowbit keys new` writes it.
const KEY: &str = "LOWBIT_MODEL_KEY";
/// 1 if models of a lower version than the one before are refused.
const REFUSE_DOWNGRADES: &str = "LOWBIT_REFUSE_DOWNGRADES";
const TITLE: &str = "lowbit-public-key-1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_SIGNED").is_none() {
        return Ok(());
    }
    println!("cargo::rerun-if-env-changed={KEY}");
    println!("cargo::rerun-if-env-changed={REFUSE_DOWNGRADES}");
    let path = env::var(KEY).map_err(|_| format!("{KEY} must name a public key"))?;
    println!("cargo::rerun-if-changed={path}");
    let text = fs::read_to_string(&path).map_err(|error| format!("`{path}`: {error}"))?;
    let key = parse(&text).ok_or_else(|| {
        format!("`{path}` is no public key: `{TITLE}` and 64 hexadecimal digits expected")
    })?;
    let refuses = env::var(REFUSE_DOWNGRADES).is_ok_and(|value| value == "1");
    let authority = format!("Authority {{ key: {key:?}, refuses_downgrades: {refuses} }}");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("authority.rs"), authority)?;
    Ok(())
}

fn parse(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end().strip_prefix(TITLE)?.strip_prefix(' ')?;
    let is_key = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let starts = (0..digits.len()).step_by(2);
    let mut bytes = starts.map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok());
    is_key.then(|| bytes.by_ref().collect())?
}
