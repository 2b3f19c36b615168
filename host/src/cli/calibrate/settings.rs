//! What calibrations on a board and on this computer have in common: flags and report.

use clap::Args;
use lowbit_host::calibration::{Chosen, FittedLayer, Priors, Refused, Trial};
use lowbit_host::data::{Dataset, Source};
use lowbit_host::shifts::Shift;
use lowbit_runtime::calibration::Passes;
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
    pub(super) images: usize,
    /// Images behind those that tell whether the new parameters help
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub(super) trial: usize,
    /// Layers to calibrate
    #[arg(long, value_name = "PLAN", value_enum, default_value_t = PlanName::Fast)]
    plan: PlanName,
    /// Images that the statistics of the training data count as [default: with the fast plan half as
    /// many as --images and, if the network becomes worse by that, as many, then twice as many; twice
    /// as many with the exact plan]
    #[arg(long, value_name = "N0")]
    prior: Option<u32>,
    /// Accept by the labels of the data, and not by how clear the answers are
    #[arg(long)]
    pub(super) labels: bool,
    /// Take images of few classes
    #[arg(long)]
    pub(super) force: bool,
    /// Give the outputs of layers other ranges, too, where over MARGIN thousandths more of their values
    /// than of the golden images' are clipped, -1000 for all layers: for --apply, as a record has no
    /// room for ranges [default of MARGIN: 5]
    #[arg(
        long,
        value_name = "MARGIN",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "5",
        value_parser = clap::value_parser!(i32).range(-1000..=1000),
        conflicts_with_all = ["board", "out"]
    )]
    pub(super) ranges: Option<i32>,
    /// Shift the images first, e.g. contrast:5, to try out what calibration does
    #[arg(long, value_name = "SHIFT")]
    shift: Option<Shift>,
}

impl SettingsArguments {
    pub(super) fn passes(&self) -> Passes {
        self.plan.into()
    }

    /// Those to try.
    pub(super) fn priors(&self) -> Priors {
        match self.prior {
            Some(prior) => Priors::only(prior),
            None => Priors::for_images(self.passes(), self.images as u32),
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
    /// The one that is accepted, or the last that was tried.
    pub(super) prior: u32,
    pub(super) refused_priors: Vec<RefusedPrior>,
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
    /// Layers whose outputs have another range.
    pub(super) ranges: Vec<RangeReport>,
    pub(super) record_bytes: Option<usize>,
    /// Generation of the record that the board uses from now on, if there is a board and one was
    /// written.
    pub(super) generation: Option<u32>,
    /// What only a board has.
    #[serde(flatten)]
    pub(super) board: Option<BoardReport>,
}

/// A layer whose output has another range.
#[derive(Debug, Serialize)]
pub(super) struct RangeReport {
    layer: String,
    /// The new range divided by the old one.
    wider: f64,
    /// Values beyond the old one, in thousandths.
    clipped_permille: u32,
}

impl From<&FittedLayer> for RangeReport {
    fn from(layer: &FittedLayer) -> Self {
        Self {
            layer: layer.name.clone(),
            wider: (-f64::from(layer.eighths) / 8.0).exp2(),
            clipped_permille: layer.clipped_permille,
        }
    }
}

/// A prior with which the network became worse.
#[derive(Debug, Serialize)]
pub(super) struct RefusedPrior {
    prior: u32,
    reason: String,
}

impl From<&Refused> for RefusedPrior {
    fn from(refused: &Refused) -> Self {
        Self {
            prior: refused.prior,
            reason: refused.rejection.to_string(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct BoardReport {
    pub(super) board: String,
    /// Bytes that the calibration took beside the model's arena.
    pub(super) memory_bytes: u32,
}

impl Report {
    /// One that names the prior.
    pub(super) fn of<T>(chosen: &Chosen<T>) -> Self {
        Self {
            prior: chosen.prior,
            refused_priors: chosen.refused.iter().map(RefusedPrior::from).collect(),
            ..Self::default()
        }
    }

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
        rows.extend(
            self.refused_priors
                .iter()
                .map(|RefusedPrior { prior, reason }| {
                    let refused = format!("prior {prior} is not accepted: {reason}");
                    ("refused", refused)
                }),
        );
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
        rows.extend(self.ranges.iter().map(|found| {
            let RangeReport {
                layer,
                wider,
                clipped_permille,
            } = found;
            let text = format!(
                "{wider:.2} times as wide after {layer}, {clipped_permille} permille clipped"
            );
            ("range", text)
        }));
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
