//! Where the test data is.

use std::env;
use std::path::{Path, PathBuf};

/// `name` in the folder of test data, `None` after saying so if it is not there.
pub(crate) fn data(name: &str) -> Option<PathBuf> {
    let folder = env::var_os("LOWBIT_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    let path = folder.join(name);
    if path.exists() {
        return Some(path);
    }
    report_skipped(name);
    None
}

#[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
fn report_skipped(name: &str) {
    eprintln!("skipped: {name} is not there");
}
