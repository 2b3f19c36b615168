//! Folders of files, one folder for each class.

use std::path::{Path, PathBuf};

use super::Error;

/// The folders in `folder`, in the order of their names.
pub(super) fn classes(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    sorted(folder, Path::is_dir)
}

/// The `wanted` files of all classes with the classes' numbers, class by class in turn, at most
/// `limit` of them.
pub(super) fn files_in_turn(
    classes: &[PathBuf],
    wanted: fn(&Path) -> bool,
    limit: Option<usize>,
) -> Result<Vec<(u16, PathBuf)>, Error> {
    let files = classes
        .iter()
        .map(|class| sorted(class, wanted))
        .collect::<Result<Vec<_>, _>>()?;
    let longest = files.iter().map(Vec::len).max().unwrap_or(0);
    let in_turn = (0..longest).flat_map(|index| {
        let of_class = move |(class, files): (usize, &Vec<PathBuf>)| {
            Some((class as u16, files.get(index)?.clone()))
        };
        files.iter().enumerate().filter_map(of_class)
    });
    Ok(in_turn.take(limit.unwrap_or(usize::MAX)).collect())
}

/// Whether the file's name ends in one of `extensions`, in whatever case.
pub(super) fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path
        .extension()
        .map(|extension| extension.to_ascii_lowercase());
    extension.is_some_and(|extension| extensions.iter().any(|known| extension == *known))
}

fn sorted(folder: &Path, wanted: fn(&Path) -> bool) -> Result<Vec<PathBuf>, Error> {
    let mut paths = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if wanted(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
