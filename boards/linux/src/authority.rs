//! The key that models must be signed with.

use std::io;
use std::path::{Path, PathBuf};

use lowbit_runtime::signature::{PUBLIC_KEY_BYTES, PUBLIC_KEY_TITLE, parse_key};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file cannot be read.
    #[error(transparent)]
    Access(#[from] io::Error),
    /// The file is something else.
    #[error("`{}` is no public key: `{PUBLIC_KEY_TITLE}` and 64 hexadecimal digits expected", .0.display())]
    Content(PathBuf),
}

/// Reads a public key as `lowbit keys new` writes it.
///
/// # Errors
/// If the file cannot be read or is no public key.
pub(crate) fn read_key(path: &Path) -> Result<[u8; PUBLIC_KEY_BYTES], KeyError> {
    let bytes = fs_err::read(path)?;
    let text = str::from_utf8(&bytes).ok();
    text.and_then(|text| parse_key(text, PUBLIC_KEY_TITLE))
        .ok_or_else(|| KeyError::Content(path.to_owned()))
}
