//! `lowbit bench` on this computer.

use std::sync::atomic::Ordering;

use clap::Args;
use lowbit_host::integer::{Backend, IntegerNetwork, Processor, Speed, SpeedTest};
use lowbit_host::summary;
use serde::Serialize;

use super::noise;
use crate::cli::Context;
use crate::cli::backends::{AdapterArguments, explain};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{columns, grouped, table};

/// Different images: more would only measure memory.
const IMAGES: usize = 64;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What computes: cpu (vector instructions), wgpu (a GPU), portable (the kernels of every
    /// board), or several of them
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        default_value = "cpu"
    )]
    #[arg(conflicts_with = "board")]
    backend: Vec<Backend>,
    #[command(flatten)]
    adapter: AdapterArguments,
    /// Images that are given at once
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "1,64,1024"
    )]
    #[arg(conflicts_with = "board", value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: Vec<u32>,
    /// Rounds of which the median is taken
    #[arg(long, value_name = "N", default_value = "5", conflicts_with = "board")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
}

#[derive(Debug, Serialize)]
struct Report {
    macs_per_image: u64,
    rounds: u32,
    backends: Vec<BackendReport>,
}

#[derive(Debug, Serialize)]
struct BackendReport {
    backend: &'static str,
    device: String,
    /// Whether a GPU was asked for and its driver computes on the processor.
    software: bool,
    /// What a GPU reaches at most.
    peak: Option<Peak>,
    speeds: Vec<SpeedReport>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Peak {
    packed_macs_per_second: f64,
    plain_macs_per_second: f64,
}

#[derive(Debug, Serialize)]
struct SpeedReport {
    batch: usize,
    images_per_second: f64,
    microseconds_per_image: f64,
    gpu_microseconds_per_image: Option<f64>,
    share_of_peak: Option<f64>,
}

pub(super) fn run(
    context: &Context,
    arguments: &Arguments,
    packed: &[u8],
) -> Result<Outcome, Failure> {
    let network = IntegerNetwork::new(packed)?;
    let model = network.model();
    let macs = summary::layers(model).iter().map(|layer| layer.macs).sum();
    let open = |backend: &Backend| arguments.adapter.open_any(context.output, *backend);
    let processors = arguments.backend.iter().map(open);
    let processors = processors.collect::<Result<Vec<_>, _>>()?;
    let peaks = processors.iter().map(peak).collect::<Result<Vec<_>, _>>()?;

    let batches: Vec<_> = arguments
        .batch
        .iter()
        .map(|batch| *batch as usize)
        .collect();
    let images = noise(IMAGES, model.pixel_bytes());
    let test = SpeedTest::new(&network, &processors, &batches, images);
    let mut test = test.map_err(explain)?;
    let bar = context.output.bar(arguments.rounds.into(), "rounds");
    for _ in 0..arguments.rounds {
        if context.stop.load(Ordering::SeqCst) {
            return Ok(Outcome::Interrupted);
        }
        test.round().map_err(explain)?;
        bar.inc(1);
    }
    bar.finish_and_clear();

    let speeds = test.speeds();
    let processors = processors.iter().zip(peaks).enumerate();
    let report = Report {
        macs_per_image: macs,
        rounds: arguments.rounds,
        backends: processors
            .map(|(index, (processor, peak))| BackendReport {
                backend: processor.backend().name(),
                device: processor.device(),
                software: processor.is_software_gpu(),
                peak,
                speeds: speeds
                    .iter()
                    .filter(|speed| speed.processor == index)
                    .map(|speed| speed_report(speed, peak, macs))
                    .collect(),
            })
            .collect(),
    };
    context.output.result(&report, || text(&report))?;
    Ok(Outcome::Done)
}

/// What a GPU reaches at most, measured before anything else makes it warm.
fn peak(processor: &Processor) -> Result<Option<Peak>, Failure> {
    let peak = processor.peak().map_err(explain)?;
    Ok(peak.map(|[packed, plain]| Peak {
        packed_macs_per_second: packed,
        plain_macs_per_second: plain,
    }))
}

fn speed_report(speed: &Speed, peak: Option<Peak>, macs: u64) -> SpeedReport {
    let seconds = speed.gpu_seconds.filter(|seconds| *seconds > 0.0);
    let share = |(seconds, peak): (f64, Peak)| macs as f64 / seconds / peak.packed_macs_per_second;
    SpeedReport {
        batch: speed.batch,
        images_per_second: speed.images_per_second,
        microseconds_per_image: 1e6 / speed.images_per_second,
        gpu_microseconds_per_image: seconds.map(|seconds| 1e6 * seconds),
        share_of_peak: seconds.zip(peak).map(share),
    }
}

fn text(report: &Report) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let row = |backend: &BackendReport, speed: &SpeedReport| {
        let gpu = speed.gpu_microseconds_per_image;
        vec![
            backend.backend.to_owned(),
            speed.batch.to_string(),
            format!("{:.1}", speed.images_per_second),
            format!("{:.1}", speed.microseconds_per_image),
            or_dash(gpu.map(|time| format!("{time:.1}"))),
            or_dash(
                speed
                    .share_of_peak
                    .map(|share| format!("{:.1} %", 100.0 * share)),
            ),
        ]
    };
    let rows = report.backends.iter().flat_map(|backend| {
        let speeds = backend.speeds.iter();
        speeds.map(move |speed| row(backend, speed))
    });
    let header = [
        "backend",
        "batch",
        "images/s",
        "us/image",
        "us/image on the GPU",
        "of its peak",
    ];
    let mut facts = vec![("MACs per image", grouped(report.macs_per_image))];
    for backend in &report.backends {
        facts.push((backend.backend, backend.device.clone()));
        if let Some(peak) = backend.peak {
            let [packed, plain] = [peak.packed_macs_per_second, peak.plain_macs_per_second];
            let text = format!(
                "{:.1} billion MACs/s with dot4U8Packed, {:.1} with plain products",
                packed / 1e9,
                plain / 1e9
            );
            facts.push(("peak", text));
        }
    }
    format!(
        "{}\n{}",
        columns(&header, &rows.collect::<Vec<_>>()),
        table(&facts)
    )
}
