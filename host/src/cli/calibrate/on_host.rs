//! `lowbit calibrate --on-host`: the board's routine on this computer.

use std::path::PathBuf;

use clap::Args;
use lowbit_host::calibration::{Attempt, Judging, Settings, record};
use lowbit_host::data::Source;
use lowbit_host::integer::IntegerNetwork;
use lowbit_host::pack;
use lowbit_runtime::calibration::{Guards, Metric};

use super::super::Context;
use super::super::failure::{Failure, Outcome};
use super::explain;
use super::settings::{RangeReport, Report, SettingsArguments};

#[derive(Debug, Args)]
pub(crate) struct OnHostArguments {
    /// Calibrate on this computer, in the board's arithmetic; with --board, compute the board's new
    /// parameters here too, from the board's statistics, and compare them
    #[arg(long)]
    pub(super) on_host: bool,
    /// Write the record to a file, if it is accepted
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Write the model with the new parameters as its own, for a board, if they are accepted
    #[arg(long, value_name = "FILE", conflicts_with = "board")]
    apply: Option<PathBuf>,
}

pub(super) fn run(
    context: &Context,
    arguments: &OnHostArguments,
    settings: &SettingsArguments,
    network: &IntegerNetwork<'_>,
    source: &Source,
) -> Result<Outcome, Failure> {
    let (seen, unseen) = settings.load(source)?;
    let pixels = seen.images();
    let judging = Judging {
        seen: &pixels,
        unseen: &unseen,
        labels: settings.labels,
        guards: Guards {
            force_diversity: settings.force,
            ..Guards::default()
        },
    };
    let passes = settings.passes();
    let attempt = |prior| {
        let attempt = Attempt::new(network, Settings { passes, prior }, &judging)?;
        match settings.ranges {
            Some(margin) => attempt.fit_ranges(&judging, margin),
            None => Ok(attempt),
        }
    };
    let chosen = settings
        .priors()
        .choose(attempt, |attempt| attempt.verdict.result)
        .map_err(explain)?;
    let Attempt {
        calibration,
        verdict,
        fitted,
        ..
    } = &chosen.attempt;
    let accepted = verdict.result.ok().filter(|_| settings.ranges.is_none());
    let record = accepted.map(|metric: Metric| {
        let settings = Settings {
            passes,
            prior: chosen.prior,
        };
        let images = seen.len() as u32;
        record(network.model(), calibration, images, settings, metric, 0)
    });
    if let (Some(path), Some(record)) = (&arguments.out, &record) {
        pack::write(path, record)?;
    }
    if let (Some(path), Ok(_)) = (&arguments.apply, verdict.result) {
        pack::write(path, &chosen.attempt.packed()?)?;
    }
    let report = Report {
        accepted: verdict.result.is_ok(),
        reason: verdict.result.err().map(|rejection| rejection.to_string()),
        images: verdict.histogram.iter().sum(),
        layers: calibration.layers,
        channels: calibration.channels,
        clamped_channels: calibration.clamped,
        histogram: verdict.histogram.clone(),
        ranges: fitted
            .iter()
            .flat_map(|fitted| &fitted.layers)
            .map(RangeReport::from)
            .collect(),
        record_bytes: record.map(|record| record.len()),
        ..Report::of(&chosen)
    };
    report
        .tried(settings.labels, &verdict.before, &verdict.after)
        .print(context)
}
