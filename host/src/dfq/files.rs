//! Files of a training run: settings, metrics, checkpoints.
//!
//! | file | |
//! |---|---|
//! | `config.toml` | the settings |
//! | `metrics.jsonl` | a line per iteration and per epoch |
//! | `events.out.tfevents.0.lowbit` | the same for TensorBoard |
//! | `checkpoints/epoch-NNNN.safetensors` | everything that the rest of the run depends on, after so many epochs; the last few |
//! | `checkpoints/best-epoch-NNNN-top1-NN.NN.safetensors` | the student that was best on the test images |
//! | `run.lock` | locked while a process trains here |
//! | `student.safetensors` | the quantized network, once the run is finished |
//!
//! A file is complete or not there: see [`crate::durable`]. Lines of metrics are added as they come
//! and cut back to the checkpoint when the run goes on.

mod archive;
mod checkpoints;
mod metrics;
mod tensorboard;

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
};

use fs_err as fs;

pub use archive::Archive;
pub use checkpoints::ResumePoint;

use super::{Config, Error, Result, config, events::Metrics, trainer::Progress};
use crate::{durable, graph::QuantizedGraph};
use checkpoints::Checkpoints;

/// Checkpoints that a run keeps if it is not told otherwise: the latest and one to fall back to.
pub const KEPT_CHECKPOINTS: usize = 2;

/// The folder of a training run.
#[derive(Debug, Clone)]
pub struct RunDirectory {
    path: PathBuf,
    checkpoints: Checkpoints,
    /// Per epoch.
    iterations: usize,
    /// Held by whoever writes to the folder, until the last copy of this is gone.
    _lock: Option<Arc<File>>,
}

impl RunDirectory {
    /// Makes folder `path`, with its parents, and writes the settings into it. Metrics and
    /// checkpoints of an earlier run there are deleted.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process trains there; if a file cannot be written.
    pub fn create(path: impl Into<PathBuf>, config: &Config) -> Result<Self> {
        let mut run = Self::new(path.into(), config);
        fs::create_dir_all(&run.path)?;
        run.lock()?;
        run.checkpoints.clear()?;
        durable::write(&run.config_path(), toml::to_string(config)?.as_bytes())?;
        durable::write(&run.metrics_path(), &[])?;
        tensorboard::create(&run.events_path())?;
        Ok(run)
    }

    /// The run in folder `path`, to read from it.
    ///
    /// # Errors
    /// If the folder holds no readable settings.
    pub fn open(path: impl Into<PathBuf>) -> Result<(Self, Config)> {
        let path = path.into();
        let file = path.join("config.toml");
        let text = fs::read_to_string(&file)?;
        let config =
            toml::from_str(&text).map_err(|error| config::explain(&file, &text, &error))?;
        Ok((Self::new(path, &config), config))
    }

    /// The run in folder `path`, to go on with it.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process trains there; if the folder holds no readable settings.
    pub fn reopen(path: impl Into<PathBuf>) -> Result<(Self, Config)> {
        let (mut run, config) = Self::open(path)?;
        run.lock()?;
        Ok((run, config))
    }

    fn new(path: PathBuf, config: &Config) -> Self {
        let checkpoints = Checkpoints {
            folder: path.join("checkpoints"),
            keep: KEPT_CHECKPOINTS,
        };
        Self {
            path,
            checkpoints,
            iterations: config.iterations,
            _lock: None,
        }
    }

    /// The system gives the lock back when the process ends, however it ends.
    fn lock(&mut self) -> Result<()> {
        let path = self.path.join("run.lock");
        let file = fs::File::create(path)?.into_parts().0;
        match file.try_lock() {
            Ok(()) => {
                self._lock = Some(Arc::new(file));
                Ok(())
            }
            Err(TryLockError::WouldBlock) => Err(Error::Locked(self.path.clone())),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// Keeps the last `count` checkpoints, at least one.
    #[must_use]
    pub fn keeping(mut self, count: usize) -> Self {
        self.checkpoints.keep = count;
        self
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

    /// The metrics for TensorBoard.
    #[must_use]
    pub fn events_path(&self) -> PathBuf {
        self.path.join("events.out.tfevents.0.lowbit")
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
        metrics::append(&self.metrics_path(), metrics)?;
        tensorboard::append(&self.events_path(), metrics, self.iterations)
    }

    /// Writes a checkpoint and then deletes those that are too old.
    ///
    /// # Errors
    /// If a file cannot be written; earlier checkpoints are then still there.
    pub fn write_checkpoint(&self, archive: &Archive, progress: &Progress) -> Result<PathBuf> {
        // A checkpoint never knows more than the metrics on the disk.
        for path in [self.metrics_path(), self.events_path()] {
            fs::File::open(path)?.sync_all()?;
        }
        self.checkpoints.write(archive, progress)
    }

    /// The newest checkpoint, readable or not.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn latest_checkpoint(&self) -> Result<Option<PathBuf>> {
        self.checkpoints.latest()
    }

    /// The newest checkpoint that can be read; `None` if there is no checkpoint.
    ///
    /// # Errors
    /// If there are checkpoints and none can be read.
    pub fn resume_point(&self) -> Result<Option<ResumePoint>> {
        self.checkpoints.resume_point()
    }

    /// Removes what was written after `progress`, from where the run goes on: checkpoints, metrics
    /// and what a crash has left half written. Gives the number of lines of metrics removed.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn cut_back(&self, progress: &Progress) -> Result<usize> {
        self.checkpoints.remove_after(progress)?;
        for folder in [&self.path, &self.checkpoints.folder] {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path
                    .extension()
                    .is_some_and(|found| found == durable::UNFINISHED)
                {
                    fs::remove_file(path)?;
                }
            }
        }
        let steps = progress.epoch * self.iterations + progress.iteration;
        tensorboard::cut(&self.events_path(), steps)?;
        metrics::cut(&self.metrics_path(), progress)
    }

    /// Keeps `student`, which has `top1` percent after `epochs` epochs, if it is better than all
    /// that were offered before.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn offer_best(&self, epochs: usize, top1: f64, student: &QuantizedGraph) -> Result<()> {
        self.checkpoints.offer(epochs, top1, student)
    }

    /// Says where training failed and what is left.
    pub(super) fn name_checkpoint(&self, source: Error, epoch: usize, iteration: usize) -> Error {
        Error::Iteration {
            epoch,
            iteration,
            source: Box::new(source),
            // The error that ended training matters more than one of the folder.
            checkpoint: self.latest_checkpoint().unwrap_or(None),
        }
    }
}
