//! Files that survive a crash: a reader sees the old content or all of the new one.

use std::io::{self, Write};
use std::path::Path;

use fs_err as fs;

/// Extension of files that are not finished. Those that a crash has left may be deleted.
pub(crate) const UNFINISHED: &str = "unfinished";

/// Writes `bytes` beside `path`, renames the file when all of it is on the disk, and waits until
/// the new name is there, too.
///
/// # Errors
/// If the folder cannot be written to or is full; `path` is then as it was.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(UNFINISHED);
    let unfinished = Path::new(&name);
    let mut file = fs::File::create(unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(unfinished, path)?;
    sync_folder_of(path)
}

/// Waits until the names in the folder of `path` are on the disk.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    // Elsewhere a folder cannot be opened like a file.
    if cfg!(unix) {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_content_replaces_the_old_or_nothing_happens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.txt");
        write(&path, b"old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        // The place of the unfinished file is taken, so that nothing can be written.
        fs::create_dir(folder.path().join("file.txt.unfinished")).unwrap();
        assert!(write(&path, b"newer").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}
