//! What calibrations on a board and on this computer have in common: flags and report.

use clap::Args;
use lowbit_host::calibration::{Settings, Trial};
use lowbit_host::data::{Dataset, Source};
use lowbit_host::shifts::Shift;
use serde::Serialize;

use super::super::Context;
use super::super::failure::{Failure, Outcome};
use super::super::model;
use super::super::output::table;
use super::PlanName;

#[derive(Debug, Args)]
pub(crate) struct SettingsArguments {
    /// Images that give the statistics, the first ones of the data
    #[arg(long, value_name = "N", default_value_t = 128)]
    images: usize,
    /// Images behind those that tell whether the new parameters help
    #[arg(long, value_name = "N", default_value_t = 128)]
    trial: usize,
    /// Layers to calibrate
    #[arg(long, value_name = "PLAN", value_enum, default_value_t = PlanName::Fast)]
    plan: PlanName,
    /// Images that the statistics of the training data count as [default: as many as --images with
    /// the fast plan, twice as many with the exact one]
    #[arg(long, value_name = "N0")]
    prior: Option<u32>,
    /// Accept by the labels of the data, and not by how clear the answers are
    #[arg(long)]
    pub(super) labels: bool,
    /// Take images of few classes
    #[arg(long)]
    pub(super) force: bool,
    /// Shift the images first, e.g. contrast:5, to try out what calibration does
    #[arg(long, value_name = "SHIFT")]
    shift: Option<Shift>,
}

impl SettingsArguments {
    pub(super) fn settings(&self) -> Settings {
        let passes = self.plan.into();
        let default = Settings::default_prior(passes, self.images as u32);
        Settings {
            passes,
            prior: self.prior.unwrap_or(default),
        }
    }

    /// Images that give the statistics, and others.
    pub(super) fn load(&self, source: &Source) -> Result<(Dataset, Dataset), Failure> {
        let count = self.images.saturating_add(self.trial);
        let mut data = model::load_images(source, Some(count))?;
        if data.len() < count {
            let message = format!(
                "`{source}` has {} images; {} for the statistics and {} to judge them by are needed",
                data.len(),
                self.images,
                self.trial
            );
            return Err(Failure::new(message).hint("give smaller `--images` and `--trial`"));
        }
        if let Some(shift) = &self.shift {
            const SEED: u64 = 1;
            data = shift.apply(&data, SEED);
        }
        let seen = data.part(0, self.images);
        Ok((seen, data.part(self.images, self.trial)))
    }
}

/// What became of a calibration.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) accepted: bool,
    /// Why not.
    pub(super) reason: Option<String>,
    pub(super) images: u32,
    pub(super) trial_images: u32,
    pub(super) prior: u32,
    pub(super) layers: u16,
    pub(super) channels: u32,
    pub(super) clamped_channels: u32,
    /// `permille correct` or `mean margin`.
    pub(super) metric: &'static str,
    pub(super) metric_before: f64,
    pub(super) metric_after: f64,
    pub(super) correct_before: Option<u32>,
    pub(super) correct_after: Option<u32>,
    /// Images per class among those that gave the statistics.
    pub(super) histogram: Vec<u32>,
    pub(super) record_bytes: Option<usize>,
    /// Generation of the record that the board uses from now on, if there is a board and one was
    /// written.
    pub(super) generation: Option<u32>,
    /// What only a board has.
    #[serde(flatten)]
    pub(super) board: Option<BoardReport>,
}

#[derive(Debug, Serialize)]
pub(super) struct BoardReport {
    pub(super) board: String,
    /// Bytes that the calibration took beside the model's arena.
    pub(super) memory_bytes: u32,
}

impl Report {
    /// Fills in what the trials say.
    pub(super) fn tried(mut self, labels: bool, before: &Trial, after: &Trial) -> Self {
        let metric = |trial: &Trial| match labels {
            true => (10.0 * trial.top1()).floor(),
            false => trial.mean_margin(),
        };
        self.metric = if labels {
            "permille correct"
        } else {
            "mean margin"
        };
        self.trial_images = after.images;
        (self.metric_before, self.metric_after) = (metric(before), metric(after));
        self.correct_before = labels.then_some(before.correct);
        self.correct_after = labels.then_some(after.correct);
        self
    }

    /// Prints it; that a calibration is not accepted is an answer.
    pub(super) fn print(&self, context: &Context) -> Result<Outcome, Failure> {
        context.output.result(self, || self.text())?;
        Ok(if self.accepted {
            Outcome::Done
        } else {
            Outcome::No
        })
    }

    fn text(&self) -> String {
        let verdict = match &self.reason {
            None => "accepted".to_owned(),
            Some(reason) => format!("not accepted: {reason}"),
        };
        let mut rows = Vec::new();
        if let Some(board) = &self.board {
            rows.push(("board", board.board.clone()));
        }
        rows.extend([
            ("calibration", verdict),
            (
                "statistics",
                format!("{} images, prior {}", self.images, self.prior),
            ),
            (
                "channels",
                format!(
                    "{} in {} layers, {} clamped",
                    self.channels, self.layers, self.clamped_channels
                ),
            ),
            (
                self.metric,
                format!(
                    "{:.3} before, {:.3} after",
                    self.metric_before, self.metric_after
                ),
            ),
        ]);
        if let (Some(before), Some(after)) = (self.correct_before, self.correct_after) {
            let correct = format!("{before} before, {after} after, of {}", self.trial_images);
            rows.push(("correct", correct));
        }
        if let Some(bytes) = self.record_bytes {
            rows.push(("record", format!("{bytes} bytes")));
        }
        if let Some(board) = &self.board {
            rows.push((
                "memory",
                format!("{} bytes beside the arena", board.memory_bytes),
            ));
            let in_use = match self.generation {
                Some(generation) => format!("calibration {generation} from now on"),
                None => "as before".to_owned(),
            };
            rows.push(("in use", in_use));
        }
        table(&rows)
    }
}
