//! The metrics as lines of JSON, cut back when a run goes on from a checkpoint.

use std::{io::Write, path::Path};

use fs_err as fs;
use serde::Deserialize;

use crate::{
    dfq::{Result, events::Metrics, trainer::Progress},
    durable,
};

/// What tells which iteration or epoch a line is about.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Place {
    Iteration { epoch: usize, iteration: usize },
    Epoch { epoch: usize },
}

impl Place {
    fn is_before(&self, progress: &Progress) -> bool {
        match *self {
            Self::Iteration { epoch, iteration } => {
                (epoch, iteration) < (progress.epoch, progress.iteration)
            }
            Self::Epoch { epoch } => epoch < progress.epoch,
        }
    }
}

pub(super) fn append(path: &Path, metrics: &Metrics<'_>) -> Result<()> {
    let mut line = serde_json::to_string(metrics)?;
    line.push('\n');
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    Ok(file.write_all(line.as_bytes())?)
}

/// Drops lines of what happened after `progress`, and what a crash has cut short. Gives how many.
pub(super) fn cut(path: &Path, progress: &Progress) -> Result<usize> {
    let text = String::from_utf8_lossy(&fs::read(path)?).into_owned();
    let stays = |line: &&str| {
        serde_json::from_str::<Place>(line).is_ok_and(|place| place.is_before(progress))
    };
    let kept: Vec<&str> = text.lines().filter(stays).collect();
    let dropped = text.lines().count() - kept.len();
    if dropped > 0 || !text.is_empty() && !text.ends_with('\n') {
        let kept: String = kept.iter().map(|line| format!("{line}\n")).collect();
        durable::write(path, kept.as_bytes())?;
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_checkpoint_has_seen_stays() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let iteration = |epoch, iteration| {
            format!("{{\"kind\":\"iteration\",\"epoch\":{epoch},\"iteration\":{iteration}}}\n")
        };
        let epoch = |epoch| format!("{{\"kind\":\"epoch\",\"epoch\":{epoch},\"seconds\":1}}\n");
        let kept = [iteration(0, 0), iteration(0, 1), epoch(0), iteration(1, 0)].concat();
        let lost = [iteration(1, 1), epoch(1)].concat();
        fs::write(file.path(), format!("{kept}{lost}{{\"kind\":\"iter")).unwrap();
        let progress = Progress {
            epoch: 1,
            iteration: 1,
            ..Progress::default()
        };
        assert_eq!(cut(file.path(), &progress).unwrap(), 3);
        assert_eq!(fs::read_to_string(file.path()).unwrap(), kept);
        assert_eq!(cut(file.path(), &progress).unwrap(), 0);
    }
}
