//! Notes of comparisons, so that a verification can go on after it was interrupted.

use std::io::{self, Write};
use std::path::Path;

use fs_err as fs;
use lowbit_host::board::{Comparison, ModelInfo};
use serde::{Deserialize, Serialize};

use crate::cli::failure::Failure;
use crate::cli::model::hexadecimal;

/// What the comparisons are of. Those of something else say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subject {
    /// SHA-256 of the model.
    model: String,
    /// Generation of the calibration in use.
    calibration: Option<u32>,
    /// Whether the checksums of all layers are compared.
    layers: bool,
}

impl Subject {
    pub(super) fn new(model: &ModelInfo, layers: bool) -> Self {
        Self {
            model: hexadecimal(&model.identity),
            calibration: model.record,
            layers,
        }
    }
}

/// A file of lines of JSON: the subject, then a comparison per image.
#[derive(Debug)]
pub(super) struct Journal {
    file: fs::File,
    /// The first failure; what was compared is not lost by it.
    failed: Option<io::Error>,
}

impl Journal {
    /// Opens the notes on `board` in `folder`, or begins them; with what they say.
    pub(super) fn open(
        folder: &Path,
        board: &str,
        subject: &Subject,
    ) -> Result<(Self, Vec<Comparison>), Failure> {
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{board}.jsonl"));
        let mut file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .append(true)
            .open(&path)?;
        let text = fs::read(&path)?;
        // A line without end was being written when the power failed.
        let end = text.iter().rposition(|&byte| byte == b'\n');
        let whole = &text[..end.map_or(0, |end| end + 1)];
        file.set_len(whole.len() as u64)?;
        if whole.is_empty() {
            writeln!(file, "{}", serde_json::to_string(subject)?)?;
        }
        let known = read(&path, whole, subject)?;
        Ok((Self { file, failed: None }, known))
    }

    /// Notes the comparison of the next image.
    pub(super) fn add(&mut self, comparison: &Comparison) {
        if self.failed.is_none() {
            self.failed = self.write(comparison).err();
        }
    }

    fn write(&mut self, comparison: &Comparison) -> io::Result<()> {
        let mut line = serde_json::to_vec(comparison)?;
        line.push(b'\n');
        self.file.write_all(&line)
    }

    /// Tells whether everything was noted.
    pub(super) fn finish(self) -> Result<(), Failure> {
        self.failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

fn read(path: &Path, whole: &[u8], subject: &Subject) -> Result<Vec<Comparison>, Failure> {
    let mut lines = whole.split_inclusive(|&byte| byte == b'\n').enumerate();
    let Some((_, first)) = lines.next() else {
        return Ok(Vec::new());
    };
    let found: Subject = parse(path, 0, first)?;
    if found != *subject {
        let message = format!(
            "`{}` is about another model, another calibration of it or another way to compare",
            path.display()
        );
        return Err(Failure::new(message).hint("give another directory with --resume"));
    }
    lines
        .map(|(index, line)| parse(path, index, line))
        .collect()
}

fn parse<T: serde::de::DeserializeOwned>(
    path: &Path,
    index: usize,
    line: &[u8],
) -> Result<T, Failure> {
    serde_json::from_slice(line).map_err(|error| {
        let line = index + 1;
        Failure::new(format!("`{}`, line {line}: {error}", path.display()))
            .hint("delete the file, or give another directory with --resume")
    })
}
