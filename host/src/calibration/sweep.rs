//! What calibration brings under many shifts, with many settings.

use lowbit_runtime::calibration::{Guards, Metric, Passes, Rejection};
use serde::Serialize;

use super::{Attempt, Error, Judging, Priors, Settings, Trial};
use crate::data::Dataset;
use crate::integer::{Calibrated, IntegerNetwork};
use crate::shifts::Shift;

/// What to try. Every shift is measured with every combination of the others.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// Shifts; `None` leaves the images as they are.
    pub shifts: Vec<Option<Shift>>,
    /// Plans.
    pub passes: Vec<Passes>,
    /// Numbers of images to calibrate on, the first ones of the data.
    pub images: Vec<usize>,
    /// Images behind those that the acceptance test looks at, without their labels.
    pub trial: usize,
    /// Priors, in images, beside those that the acceptance test chooses from.
    pub priors: Vec<u32>,
    /// Seed of random shifts.
    pub seed: u64,
    /// Margin of ranges to re-estimate, too, see [`fit_ranges`](super::fit_ranges).
    pub ranges: Option<i32>,
}

/// What the acceptance test compares without labels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Unlabelled {
    /// Mean margin.
    pub margin: f64,
    /// Share of the class that most images are taken for, in percent.
    pub largest_share: f64,
}

impl From<&Trial> for Unlabelled {
    fn from(trial: &Trial) -> Self {
        let largest = trial.histogram.iter().max().copied().unwrap_or(0);
        Self {
            margin: trial.mean_margin(),
            largest_share: 100.0 * f64::from(largest) / f64::from(trial.images.max(1)),
        }
    }
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// Name of the plan.
    pub plan: &'static str,
    /// Images calibrated on.
    pub images: usize,
    /// Images that the statistics of the training data count as.
    pub prior: u32,
    /// Accuracy with the new parameters, in percent.
    pub top1: f64,
    /// Of the trial's images with the new parameters.
    pub trial: Unlabelled,
    /// Why the acceptance test refuses them.
    pub refused: Option<String>,
    /// Channels that were not followed all the way, in percent.
    pub clamped: f64,
}

/// With the prior that the acceptance test chooses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Automatic {
    /// Name of the plan.
    pub plan: &'static str,
    /// Images calibrated on.
    pub images: usize,
    /// The prior; `None` if all were refused, so that the factory's parameters stay.
    pub prior: Option<u32>,
    /// Accuracy with the parameters that are then in use, in percent.
    pub top1: f64,
}

/// All measurements of a shift.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Name of the shift, `none` without one.
    pub shift: String,
    /// Accuracy with the factory's parameters, in percent.
    pub before: f64,
    /// Of the trial's images with the factory's parameters, of the first combination.
    pub trial: Unlabelled,
    /// With each combination of plan and images, in this order.
    pub automatic: Vec<Automatic>,
    /// With each combination of plan, images and prior, in this order.
    pub after: Vec<Cell>,
}

/// Name of a plan.
#[must_use]
pub fn plan_name(passes: Passes) -> &'static str {
    match passes {
        Passes::Fast => "fast",
        Passes::Exact => "exact",
    }
}

impl Sweep {
    /// Number of combinations of plan and images, for each of which `progress` is called once per
    /// shift.
    #[must_use]
    pub fn combinations(&self) -> usize {
        self.passes.len() * self.images.len()
    }

    /// Calibrates on the first images of `calibration` and measures on all of `test`. `progress` is
    /// called after every combination of plan and images.
    ///
    /// # Errors
    /// If the model cannot be calibrated so, or the images do not fit the network.
    pub fn run(
        &self,
        network: &IntegerNetwork<'_>,
        calibration: &Dataset,
        test: &Dataset,
        mut progress: impl FnMut(),
    ) -> Result<Vec<Row>, Error> {
        network.check_dataset(calibration)?;
        let mut rows = Vec::new();
        for shift in &self.shifts {
            // Other seeds, so that calibration and test have no noise in common.
            let shifted = |data: &Dataset, seed| match shift {
                Some(shift) => shift.apply(data, seed),
                None => data.clone(),
            };
            let seen = shifted(calibration, self.seed);
            let test = shifted(test, self.seed.wrapping_add(1));
            let factory = Calibrated::new(network);
            let first = self.images.first().copied().unwrap_or(0);
            let mut row = Row {
                shift: shift.map_or("none".to_owned(), |shift| shift.to_string()),
                before: trial(&factory, &test)?.top1(),
                trial: (&trial(&factory, &seen.part(first, self.trial))?).into(),
                automatic: Vec::new(),
                after: Vec::new(),
            };
            for &passes in &self.passes {
                for &images in &self.images {
                    let bench = Bench {
                        network,
                        passes,
                        seen: seen.part(0, images),
                        unseen: seen.part(images, self.trial),
                        test: &test,
                        ranges: self.ranges,
                    };
                    bench.measure(&self.priors, &mut row)?;
                    progress();
                }
            }
            rows.push(row);
        }
        Ok(rows)
    }
}

/// What the priors are compared on.
struct Bench<'a> {
    network: &'a IntegerNetwork<'a>,
    passes: Passes,
    /// Gives the statistics.
    seen: Dataset,
    /// For the acceptance test.
    unseen: Dataset,
    /// To measure on.
    test: &'a Dataset,
    ranges: Option<i32>,
}

impl Bench<'_> {
    fn measure(&self, priors: &[u32], row: &mut Row) -> Result<(), Error> {
        let images = self.seen.len();
        let mut measured = Vec::new();
        for &prior in priors {
            measured.push(self.with(prior)?);
        }
        let chosen = Priors::for_images(self.passes, images as u32).choose(
            |prior| match measured.iter().find(|(cell, _)| cell.prior == prior) {
                Some(known) => Ok(known.clone()),
                None => self.with(prior),
            },
            |(_, verdict)| *verdict,
        )?;
        let (cell, verdict) = chosen.attempt;
        row.automatic.push(Automatic {
            plan: cell.plan,
            images,
            prior: verdict.ok().map(|_| chosen.prior),
            top1: verdict.map_or(row.before, |_| cell.top1),
        });
        row.after.extend(measured.into_iter().map(|(cell, _)| cell));
        Ok(())
    }

    fn with(&self, prior: u32) -> Result<(Cell, Result<Metric, Rejection>), Error> {
        let settings = Settings {
            passes: self.passes,
            prior,
        };
        let judging = Judging {
            seen: &self.seen.images(),
            unseen: &self.unseen,
            labels: false,
            guards: Guards::default(),
        };
        let mut attempt = Attempt::new(self.network, settings, &judging)?;
        if let Some(margin) = self.ranges {
            attempt = attempt.fit_ranges(&judging, margin)?;
        }
        let top1 = attempt.trial(self.test)?.top1();
        let Attempt {
            calibration,
            verdict,
            ..
        } = attempt;
        let cell = Cell {
            plan: plan_name(self.passes),
            images: self.seen.len(),
            prior,
            top1,
            trial: (&verdict.after).into(),
            refused: verdict.result.err().map(|rejection| rejection.to_string()),
            clamped: 100.0 * f64::from(calibration.clamped)
                / f64::from(calibration.channels.max(1)),
        };
        Ok((cell, verdict.result))
    }
}

/// What `network` makes of all of `data`.
///
/// # Errors
/// If the images do not fit the network.
pub fn trial(network: &Calibrated<'_, '_>, data: &Dataset) -> Result<Trial, Error> {
    let logits = network.logits(&data.images())?;
    Ok(Trial::new(&logits, data.classes, &data.labels))
}
