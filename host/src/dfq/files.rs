//! Files of a training run: settings, metrics, checkpoints.
//!
//! | file | |
//! |---|---|
//! | `config.toml` | the settings |
//! | `metrics.jsonl` | a line per iteration and per epoch |
//! | `checkpoint.safetensors` | everything that the rest of the run depends on |
//! | `checkpoint.previous.safetensors` | the one before it |
//! | `student.safetensors` | the quantized network |

use std::{
    collections::HashMap,
    io::Write,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};
use fs_err as fs;

use super::{Config, Error, Result, events::Metrics};

/// The folder of a training run.
#[derive(Debug, Clone)]
pub struct RunDirectory {
    path: PathBuf,
}

/// Named tensors with notes in text, as one file.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    /// Tensors by name.
    pub tensors: HashMap<String, Tensor>,
    /// Notes by name.
    pub notes: HashMap<String, String>,
}

impl RunDirectory {
    /// Makes folder `path`, with its parents, and writes the settings into it. Metrics of an
    /// earlier run there are replaced.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn create(path: impl Into<PathBuf>, config: &Config) -> Result<Self> {
        let run = Self { path: path.into() };
        fs::create_dir_all(&run.path)?;
        write_atomically(&run.config_path(), toml::to_string(config)?.as_bytes())?;
        fs::write(run.metrics_path(), [])?;
        Ok(run)
    }

    /// The run in folder `path`, which goes on.
    ///
    /// # Errors
    /// If the folder holds no readable settings.
    pub fn open(path: impl Into<PathBuf>) -> Result<(Self, Config)> {
        let run = Self { path: path.into() };
        let file = run.config_path();
        let text = fs::read_to_string(&file)?;
        let config = toml::from_str(&text).map_err(|error| Error::ConfigFile {
            path: file,
            error: Box::new(error),
        })?;
        Ok((run, config))
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The settings.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// A line of JSON per iteration and per epoch.
    #[must_use]
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// The latest checkpoint.
    #[must_use]
    pub fn checkpoint_path(&self) -> PathBuf {
        self.path.join("checkpoint.safetensors")
    }

    /// The quantized network.
    #[must_use]
    pub fn student_path(&self) -> PathBuf {
        self.path.join("student.safetensors")
    }

    /// Adds a line to the metrics.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append_metrics(&self, metrics: &Metrics<'_>) -> Result<()> {
        let mut line = serde_json::to_string(metrics)?;
        line.push('\n');
        let path = self.metrics_path();
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?;
        Ok(file.write_all(line.as_bytes())?)
    }

    /// Writes a checkpoint and keeps the one before it.
    ///
    /// # Errors
    /// If a file cannot be written; the earlier checkpoint is then still there.
    pub fn write_checkpoint(&self, archive: &Archive) -> Result<PathBuf> {
        let path = self.checkpoint_path();
        if path.exists() {
            fs::copy(&path, self.path.join("checkpoint.previous.safetensors"))?;
        }
        archive.write(&path)?;
        Ok(path)
    }
}

impl Archive {
    /// Writes all to `path` at once: a reader sees the old file or the new one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = safetensors::serialize(&self.tensors, Some(self.notes.clone()))?;
        write_atomically(path, &bytes)
    }

    /// Reads what [`Archive::write`] wrote.
    ///
    /// # Errors
    /// If the file cannot be read or is no archive.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path)?;
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes)?;
        Ok(Self {
            tensors: candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?,
            notes: header.metadata().clone().unwrap_or_default(),
        })
    }
}

fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(fs::rename(&unfinished, path)?)
}
