//! What calibration brings under many shifts, with many settings.

use lowbit_runtime::calibration::Passes;
use serde::Serialize;

use super::{Error, Settings, Trial, calibrate};
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
    /// Priors, in images.
    pub priors: Vec<u32>,
    /// Seed of random shifts.
    pub seed: u64,
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
    /// Channels that were not followed all the way, in percent.
    pub clamped: f64,
}

/// All measurements of a shift.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Name of the shift, `none` without one.
    pub shift: String,
    /// Accuracy with the factory's parameters, in percent.
    pub before: f64,
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
    /// Number of measurements per shift.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.passes.len() * self.images.len() * self.priors.len()
    }

    /// Calibrates on the first images of `calibration` and measures on all of `test`. `progress` is
    /// called after every measurement.
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
            let unseen = shifted(test, self.seed.wrapping_add(1));
            let factory = Calibrated::new(network);
            let mut row = Row {
                shift: shift.map_or("none".to_owned(), |shift| shift.to_string()),
                before: trial(&factory, &unseen)?.top1(),
                after: Vec::new(),
            };
            for settings in self.settings() {
                row.after.push(cell(network, &seen, &unseen, settings)?);
                progress();
            }
            rows.push(row);
        }
        Ok(rows)
    }

    fn settings(&self) -> impl Iterator<Item = (usize, Settings)> + '_ {
        let images = move |passes| self.images.iter().map(move |images| (passes, *images));
        let combinations = self.passes.iter().flat_map(move |passes| images(*passes));
        combinations.flat_map(move |(passes, images)| {
            let priors = self.priors.iter();
            priors.map(move |&prior| (images, Settings { passes, prior }))
        })
    }
}

fn cell(
    network: &IntegerNetwork<'_>,
    seen: &Dataset,
    unseen: &Dataset,
    (images, settings): (usize, Settings),
) -> Result<Cell, Error> {
    let mut calibrated = Calibrated::new(network);
    let count = images.min(seen.len());
    let found = calibrate(network, &mut calibrated, &seen.images()[..count], settings)?;
    Ok(Cell {
        plan: plan_name(settings.passes),
        images: count,
        prior: settings.prior,
        top1: trial(&calibrated, unseen)?.top1(),
        clamped: 100.0 * f64::from(found.clamped) / f64::from(found.channels.max(1)),
    })
}

/// What `network` makes of all of `data`.
///
/// # Errors
/// If the images do not fit the network.
pub fn trial(network: &Calibrated<'_, '_>, data: &Dataset) -> Result<Trial, Error> {
    let logits = network.logits(&data.images())?;
    Ok(Trial::new(&logits, data.classes, &data.labels))
}
