//! The folder of checkpoints: the last few, and the student that was best so far.

use std::path::{Path, PathBuf};

use fs_err as fs;

use super::Archive;
use crate::{
    dfq::{Error, Result, trainer::Progress},
    graph::QuantizedGraph,
};

const EXTENSION: &str = "safetensors";

/// The folder of checkpoints.
#[derive(Debug, Clone)]
pub(super) struct Checkpoints {
    pub(super) folder: PathBuf,
    /// How many of the last ones are kept.
    pub(super) keep: usize,
}

/// Where a run goes on.
#[derive(Debug)]
pub struct ResumePoint {
    /// The newest checkpoint that can be read.
    pub path: PathBuf,
    /// What it holds.
    pub archive: Archive,
    /// Newer ones that cannot be read, with the reason.
    pub unreadable: Vec<Error>,
}

/// Epochs and iterations done, as the file's name has them.
type Position = (usize, usize);

impl Checkpoints {
    /// Writes one and then deletes those that are too old.
    pub(super) fn write(&self, archive: &Archive, progress: &Progress) -> Result<PathBuf> {
        let path = self.folder.join(name(progress));
        archive.write(&path)?;
        let all = self.list()?;
        let too_many = all.len().saturating_sub(self.keep.max(1));
        for (_, old) in &all[..too_many] {
            fs::remove_file(old)?;
        }
        Ok(path)
    }

    /// All, the oldest first.
    fn list(&self) -> Result<Vec<(Position, PathBuf)>> {
        let mut found = Vec::new();
        for path in self.files()? {
            found.extend(position(&path).map(|position| (position, path)));
        }
        found.sort();
        Ok(found)
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        if !self.folder.exists() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.path()));
        entries.collect()
    }

    pub(super) fn latest(&self) -> Result<Option<PathBuf>> {
        Ok(self.list()?.pop().map(|(_, path)| path))
    }

    /// The newest that can be read; `None` if there is none at all.
    pub(super) fn resume_point(&self) -> Result<Option<ResumePoint>> {
        let mut unreadable = Vec::new();
        for (_, path) in self.list()?.into_iter().rev() {
            match Archive::read(&path) {
                Ok(archive) => {
                    return Ok(Some(ResumePoint {
                        path,
                        archive,
                        unreadable,
                    }));
                }
                Err(error) => unreadable.push(error),
            }
        }
        unreadable.into_iter().next().map_or(Ok(None), Err)
    }

    /// Removes checkpoints that are not to be gone on from.
    pub(super) fn remove_after(&self, progress: &Progress) -> Result<()> {
        for (position, path) in self.list()? {
            if position > (progress.epoch, progress.iteration) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    pub(super) fn clear(&self) -> Result<()> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        Ok(fs::create_dir_all(&self.folder)?)
    }

    /// Keeps `student` if it is better than the best so far.
    pub(super) fn offer(&self, epochs: usize, top1: f64, student: &QuantizedGraph) -> Result<()> {
        let earlier = self.best()?;
        if earlier.iter().any(|(best, _)| *best >= rounded(top1)) {
            return Ok(());
        }
        let name = format!("best-epoch-{epochs:04}-top1-{top1:.2}.{EXTENSION}");
        student.save(&self.folder.join(name))?;
        for (_, old) in earlier {
            fs::remove_file(old)?;
        }
        Ok(())
    }

    /// The best with its accuracy; more than one if a crash came between writing and deleting.
    fn best(&self) -> Result<Vec<(f64, PathBuf)>> {
        let accuracy = |path: &Path| {
            let (_, accuracy) = path.file_stem()?.to_str()?.rsplit_once("-top1-")?;
            accuracy.parse().ok()
        };
        let files = self.files()?.into_iter();
        Ok(files
            .filter_map(|path| Some((accuracy(&path)?, path)))
            .collect())
    }
}

/// As precise as in a file's name.
fn rounded(top1: f64) -> f64 {
    format!("{top1:.2}").parse().unwrap_or(top1)
}

fn name(progress: &Progress) -> String {
    let Progress {
        epoch, iteration, ..
    } = progress;
    if *iteration == 0 {
        format!("epoch-{epoch:04}.{EXTENSION}")
    } else {
        format!("epoch-{epoch:04}-iteration-{iteration:04}.{EXTENSION}")
    }
}

fn position(path: &Path) -> Option<Position> {
    if path.extension()? != EXTENSION {
        return None;
    }
    let rest = path.file_stem()?.to_str()?.strip_prefix("epoch-")?;
    match rest.split_once("-iteration-") {
        Some((epoch, iteration)) => Some((epoch.parse().ok()?, iteration.parse().ok()?)),
        None => Some((rest.parse().ok()?, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoints(keep: usize) -> (tempfile::TempDir, Checkpoints) {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints {
            folder: folder.path().join("checkpoints"),
            keep,
        };
        checkpoints.clear().unwrap();
        (folder, checkpoints)
    }

    fn at(epoch: usize, iteration: usize) -> Progress {
        Progress {
            epoch,
            iteration,
            ..Progress::default()
        }
    }

    fn write(checkpoints: &Checkpoints, epoch: usize, iteration: usize) -> PathBuf {
        let archive = Archive::default();
        checkpoints.write(&archive, &at(epoch, iteration)).unwrap()
    }

    fn names(checkpoints: &Checkpoints) -> Vec<String> {
        let files = checkpoints.list().unwrap().into_iter();
        files
            .map(|(_, path)| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn the_last_ones_are_kept_in_the_order_of_training() {
        let (_folder, checkpoints) = checkpoints(3);
        for (epoch, iteration) in [(9998, 0), (9999, 0), (9999, 7), (9999, 12), (10_000, 0)] {
            write(&checkpoints, epoch, iteration);
        }
        let expected = [
            "epoch-9999-iteration-0007",
            "epoch-9999-iteration-0012",
            "epoch-10000",
        ];
        assert_eq!(names(&checkpoints), expected);
        checkpoints.remove_after(&at(9999, 7)).unwrap();
        assert_eq!(names(&checkpoints), expected[..1]);
    }

    #[test]
    fn the_newest_readable_one_is_found_and_the_others_are_named() {
        let (_folder, checkpoints) = checkpoints(3);
        assert!(checkpoints.resume_point().unwrap().is_none());
        let first = write(&checkpoints, 1, 0);
        let broken = write(&checkpoints, 2, 0);
        fs::write(&broken, b"{").unwrap();
        let point = checkpoints.resume_point().unwrap().unwrap();
        assert_eq!(point.path, first);
        let message = point.unreadable[0].to_string();
        assert!(message.contains("epoch-0002"), "{message}");
        fs::write(&first, b"").unwrap();
        let error = checkpoints.resume_point().unwrap_err().to_string();
        assert!(error.contains("epoch-0002"), "{error}");
    }
}
