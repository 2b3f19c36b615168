//! `lowbit calibrate --sweep`: a table of what calibration brings.

use std::path::{Path, PathBuf};

use clap::Args;
use lowbit_host::calibration::{Automatic, Cell, Row, Sweep, Unlabelled};
use lowbit_host::data::Source;
use lowbit_host::integer::IntegerNetwork;
use lowbit_host::report::{Curve, Panel, write_curves};
use lowbit_host::shifts::{Corruption, Shift};
use serde::Serialize;

use super::super::Context;
use super::super::failure::{Failure, Outcome};
use super::super::model;
use super::super::output::columns;
use super::settings::SettingsArguments;
use super::{PlanName, explain};

#[derive(Debug, Args)]
#[command(next_help_heading = "Sweep")]
pub(crate) struct SweepArguments {
    /// Measure before and after calibration under many shifts, with many settings
    #[arg(long, conflicts_with = "board")]
    pub(super) sweep: bool,
    /// Shifts: `ten`, those that docs/calibration.md compares by; `all`, every one at every severity;
    /// or names like contrast:4,noise:3
    #[arg(
        long,
        value_name = "SHIFT,...",
        default_value = "ten",
        value_delimiter = ','
    )]
    shifts: Vec<String>,
    /// Plans
    #[arg(
        long,
        value_name = "PLAN,...",
        value_delimiter = ',',
        default_value = "fast"
    )]
    plans: Vec<PlanName>,
    /// Numbers of images to calibrate on
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "128"
    )]
    counts: Vec<usize>,
    /// Priors, beside the one that the acceptance test chooses
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    priors: Vec<u32>,
    /// First image to measure on; those before it are for calibration
    #[arg(long, value_name = "N", default_value_t = 2000)]
    test_from: usize,
    /// Images to measure on
    #[arg(long, value_name = "N", default_value_t = 4000)]
    test_images: usize,
    /// Draw the mean accuracy over the shifts by prior
    #[arg(long, value_name = "FILE", requires = "priors")]
    plot: Option<PathBuf>,
    /// Seed of random shifts
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    test_images: usize,
    shifts: Vec<Row>,
    mean: Row,
}

pub(super) fn run(
    context: &Context,
    arguments: &SweepArguments,
    settings: &SettingsArguments,
    network: &IntegerNetwork<'_>,
    source: &Source,
) -> Result<Outcome, Failure> {
    let trial = settings.trial;
    let sweep = Sweep {
        shifts: shifts(&arguments.shifts)?,
        passes: arguments.plans.iter().map(|plan| (*plan).into()).collect(),
        images: arguments.counts.clone(),
        trial,
        priors: arguments.priors.clone(),
        seed: arguments.seed,
        ranges: settings.ranges,
    };
    let end = arguments.test_from.saturating_add(arguments.test_images);
    let data = model::load_images(source, Some(end))?;
    let most = sweep.images.iter().max().copied().unwrap_or(0);
    let before = most.saturating_add(trial);
    if most == 0 || before > arguments.test_from || data.len() <= arguments.test_from {
        let message = format!(
            "{most} images to calibrate on, {trial} to judge them by and others from number {} on are \
             needed, `{source}` has {}",
            arguments.test_from,
            data.len()
        );
        let hint = "change --counts, --trial, --test-from and --test-images";
        return Err(Failure::new(message).hint(hint));
    }
    let seen = data.part(0, before);
    let unseen = data.part(arguments.test_from, arguments.test_images);
    let bar = context.output.bar(
        (sweep.combinations() * sweep.shifts.len()) as u64,
        "calibrating",
    );
    let rows = sweep
        .run(network, &seen, &unseen, || bar.inc(1))
        .map_err(explain)?;
    bar.finish_and_clear();
    let report = Report {
        test_images: unseen.len(),
        mean: mean(&rows),
        shifts: rows,
    };
    if let Some(path) = &arguments.plot {
        plot(path, &report)?;
    }
    context.output.result(&report, || text(&report))?;
    Ok(Outcome::Done)
}

/// The shifts named, with the images as they are in front.
fn shifts(names: &[String]) -> Result<Vec<Option<Shift>>, Failure> {
    let mut shifts = vec![None];
    for name in names {
        match name.as_str() {
            "none" => {}
            "ten" => shifts.extend(Shift::TEN.map(Some)),
            "all" => {
                for corruption in Corruption::ALL {
                    let shift = |severity| Shift {
                        corruption,
                        severity,
                    };
                    shifts.extend((1..=5).map(|severity| Some(shift(severity))));
                }
            }
            name => shifts.push(Some(name.parse()?)),
        }
    }
    Ok(shifts)
}

/// Over all shifts, without the images as they are.
fn mean(rows: &[Row]) -> Row {
    let shifted = || rows.iter().filter(|row| row.shift != "none");
    let count = shifted().count().max(1) as f64;
    let average = |value: &dyn Fn(&Row) -> f64| shifted().map(value).sum::<f64>() / count;
    let mean_trial = |value: &dyn Fn(&Row) -> Unlabelled| Unlabelled {
        margin: average(&|row| value(row).margin),
        largest_share: average(&|row| value(row).largest_share),
    };
    let first = rows.first();
    let automatic = first.map_or(&[][..], |row| &row.automatic);
    let after = first.map_or(&[][..], |row| &row.after);
    Row {
        shift: "mean of the shifts".to_owned(),
        before: average(&|row| row.before),
        trial: mean_trial(&|row| row.trial),
        automatic: (automatic.iter().enumerate())
            .map(|(index, automatic)| Automatic {
                top1: average(&|row| row.automatic[index].top1),
                prior: None,
                ..automatic.clone()
            })
            .collect(),
        after: (after.iter().enumerate())
            .map(|(index, cell)| Cell {
                top1: average(&|row| row.after[index].top1),
                trial: mean_trial(&|row| row.after[index].trial),
                clamped: average(&|row| row.after[index].clamped),
                refused: None,
                ..cell.clone()
            })
            .collect(),
    }
}

/// Accuracies; in brackets the prior that was chosen, or a dash where the calibration was refused.
fn text(report: &Report) -> String {
    let automatic = (report.mean.automatic.iter())
        .map(|automatic| format!("{} N{} auto", automatic.plan, automatic.images));
    let cells = (report.mean.after.iter())
        .map(|cell| format!("{} N{} N0 {}", cell.plan, cell.images, cell.prior));
    let header: Vec<String> = ["shift".to_owned(), "before".to_owned()]
        .into_iter()
        .chain(automatic)
        .chain(cells)
        .collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let measured = report.shifts.iter().map(|row| (row, true));
    let rows = measured
        .chain([(&report.mean, false)])
        .map(|(row, is_one)| {
            let chosen = row.automatic.iter().map(|automatic| {
                let prior = automatic
                    .prior
                    .map_or("-".to_owned(), |prior| prior.to_string());
                match is_one {
                    true => format!("{:.1} ({prior})", automatic.top1),
                    false => format!("{:.1}", automatic.top1),
                }
            });
            let figures = row.after.iter().map(|cell| format!("{:.1}", cell.top1));
            [row.shift.clone(), format!("{:.1}", row.before)]
                .into_iter()
                .chain(chosen)
                .chain(figures)
                .collect()
        });
    columns(&header, &rows.collect::<Vec<Vec<String>>>())
}

/// The mean of the shifts and the images as they are, over the prior.
fn plot(path: &Path, report: &Report) -> Result<(), Failure> {
    let panel = |title: &str, row: &Row| {
        let mut curves: Vec<Curve> = Vec::new();
        for cell in &row.after {
            let label = format!("{}, {} images", cell.plan, cell.images);
            // Priors lie far apart: every doubling is a step.
            let point = (f64::from(cell.prior.max(1)).log2(), cell.top1);
            match curves.iter_mut().find(|curve| curve.label == label) {
                Some(curve) => curve.points.push(point),
                None => curves.push(Curve {
                    label,
                    points: vec![point],
                }),
            }
        }
        Panel {
            title: format!("{title}, top-1 in %; {:.1} before", row.before),
            x_label: "log2 of the prior in images".to_owned(),
            curves,
        }
    };
    let mut panels = vec![panel("mean of the shifts", &report.mean)];
    let unshifted = report.shifts.iter().find(|row| row.shift == "none");
    panels.extend(unshifted.map(|row| panel("images as they are", row)));
    write_curves(path, &panels)?;
    Ok(())
}
