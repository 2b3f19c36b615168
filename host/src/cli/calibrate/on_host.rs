//! `lowbit calibrate --on-host`: the board's routine on this computer.

use std::path::PathBuf;

use clap::Args;
use lowbit_host::calibration::{
    Calibration, Judging, Settings, Trial, Verdict, accept, calibrate, record,
};
use lowbit_host::data::{Dataset, Source};
use lowbit_host::integer::{Calibrated, IntegerNetwork};
use lowbit_host::pack;
use lowbit_host::shifts::Shift;
use lowbit_runtime::calibration::{Guards, Metric};
use serde::Serialize;

use super::super::Context;
use super::super::failure::{Failure, Outcome};
use super::super::model;
use super::super::output::table;
use super::{PlanName, explain};

#[derive(Debug, Args)]
pub(crate) struct OnHostArguments {
    /// Calibrate on this computer, in the board's arithmetic
    #[arg(long)]
    on_host: bool,
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
    labels: bool,
    /// Take images of few classes
    #[arg(long)]
    force: bool,
    /// Shift the images first, e.g. contrast:5, to try out what calibration does
    #[arg(long, value_name = "SHIFT")]
    shift: Option<Shift>,
    /// Write the record to a file, if it is accepted
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the model with the new parameters as its own, for a board, if they are accepted
    #[arg(long, value_name = "FILE")]
    apply: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    accepted: bool,
    /// Why not.
    reason: Option<String>,
    images: u32,
    trial_images: u32,
    prior: u32,
    layers: u16,
    channels: u32,
    clamped_channels: u32,
    /// `permille correct` or `mean margin`.
    metric: &'static str,
    metric_before: f64,
    metric_after: f64,
    correct_before: Option<u32>,
    correct_after: Option<u32>,
    /// Images per class among those that gave the statistics.
    histogram: Vec<u32>,
    record_bytes: Option<usize>,
}

pub(super) fn run(
    context: &Context,
    arguments: &OnHostArguments,
    network: &IntegerNetwork<'_>,
    source: &Source,
) -> Result<Outcome, Failure> {
    let (seen, unseen) = images(arguments, source)?;
    let passes = arguments.plan.into();
    let default = Settings::default_prior(passes, arguments.images as u32);
    let settings = Settings {
        passes,
        prior: arguments.prior.unwrap_or(default),
    };
    let factory = Calibrated::new(network);
    let mut calibrated = Calibrated::new(network);
    let pixels = seen.images();
    let found = calibrate(network, &mut calibrated, &pixels, settings).map_err(explain)?;
    let judging = Judging {
        seen: &pixels,
        unseen: &unseen,
        labels: arguments.labels,
        guards: Guards {
            force_diversity: arguments.force,
            ..Guards::default()
        },
    };
    let verdict = accept(network, &factory, &calibrated, &found, &judging).map_err(explain)?;
    let record = verdict.result.ok().map(|metric: Metric| {
        let images = seen.len() as u32;
        record(network.model(), &found, images, settings, metric, 0)
    });
    if let (Some(path), Some(record)) = (&arguments.out, &record) {
        pack::write(path, record)?;
    }
    if let (Some(path), Ok(_)) = (&arguments.apply, verdict.result) {
        pack::write(path, &pack::apply(network.model(), &found.payload)?)?;
    }
    let bytes = record.map(|record| record.len());
    let report = report(arguments.labels, settings, &found, &verdict, bytes);
    context.output.result(&report, || text(&report))?;
    Ok(if report.accepted {
        Outcome::Done
    } else {
        Outcome::No
    })
}

/// Images that give the statistics, and others.
fn images(arguments: &OnHostArguments, source: &Source) -> Result<(Dataset, Dataset), Failure> {
    let count = arguments.images.saturating_add(arguments.trial);
    let mut data = model::load_images(source, Some(count))?;
    if data.len() < count {
        let message = format!(
            "`{source}` has {} images; {} for the statistics and {} to judge them by are needed",
            data.len(),
            arguments.images,
            arguments.trial
        );
        return Err(Failure::new(message).hint("give smaller `--images` and `--trial`"));
    }
    if let Some(shift) = &arguments.shift {
        const SEED: u64 = 1;
        data = shift.apply(&data, SEED);
    }
    let seen = data.part(0, arguments.images);
    Ok((seen, data.part(arguments.images, arguments.trial)))
}

fn report(
    labels: bool,
    settings: Settings,
    found: &Calibration,
    verdict: &Verdict,
    record_bytes: Option<usize>,
) -> Report {
    let Verdict {
        result,
        histogram,
        before,
        after,
    } = verdict;
    let metric = |trial: &Trial| match labels {
        true => (10.0 * trial.top1()).floor(),
        false => trial.mean_margin(),
    };
    Report {
        accepted: result.is_ok(),
        reason: result.err().map(|rejection| rejection.to_string()),
        images: histogram.iter().sum(),
        trial_images: after.images,
        prior: settings.prior,
        layers: found.layers,
        channels: found.channels,
        clamped_channels: found.clamped,
        metric: if labels {
            "permille correct"
        } else {
            "mean margin"
        },
        metric_before: metric(before),
        metric_after: metric(after),
        correct_before: labels.then_some(before.correct),
        correct_after: labels.then_some(after.correct),
        histogram: histogram.clone(),
        record_bytes,
    }
}

fn text(report: &Report) -> String {
    let verdict = match &report.reason {
        None => "accepted".to_owned(),
        Some(reason) => format!("not accepted: {reason}"),
    };
    let mut rows = vec![
        ("calibration", verdict),
        (
            "statistics",
            format!("{} images, prior {}", report.images, report.prior),
        ),
        (
            "channels",
            format!(
                "{} in {} layers, {} clamped",
                report.channels, report.layers, report.clamped_channels
            ),
        ),
        (
            report.metric,
            format!(
                "{:.3} before, {:.3} after",
                report.metric_before, report.metric_after
            ),
        ),
    ];
    if let (Some(before), Some(after)) = (report.correct_before, report.correct_after) {
        let correct = format!("{before} before, {after} after, of {}", report.trial_images);
        rows.push(("correct", correct));
    }
    rows.extend(
        report
            .record_bytes
            .map(|bytes| ("record", format!("{bytes} bytes"))),
    );
    table(&rows)
}
