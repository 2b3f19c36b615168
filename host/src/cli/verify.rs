//! `lowbit verify`.

use std::path::PathBuf;

use clap::Args;
use lowbit_host::board::{self, Client, Verdict};
use lowbit_host::data::{Dataset, Source};
use lowbit_host::graph::Graph;
use serde::Serialize;

use super::Context;
use super::failure::{Failure, Outcome};
use super::link::{LinkArguments, explain};
use super::model::{self, Origin};
use super::output::{Output, grouped, table};

const EXAMPLES: &str = "\
Examples:
  lowbit verify --board mps2-an386 model.lowbit --data cifar10:test_batch.bin --limit 100
  lowbit verify --board mps2-an386 model.lowbit --data shapes --limit 20 --layers --json

The board has to hold the model: run `lowbit flash` first. If the board uses a calibration, so does
the comparison. Exits with 1 if any logit of any image
differs, or the board's accuracy is below --min-top1.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    link: LinkArguments,
    /// The packed file that the board holds
    model: PathBuf,
    /// Labelled images
    #[arg(long, value_name = "DATA")]
    data: Source,
    /// Use only the first N images
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Compare the checksum of every layer, too
    #[arg(long)]
    layers: bool,
    /// Directory of the run that the model comes from, for the float network's accuracy [default:
    /// as noted beside the model when it was packed]
    #[arg(long, value_name = "RUN")]
    run: Option<PathBuf>,
    /// Exit with 1 if the board's accuracy is below this many percent
    #[arg(long, value_name = "PERCENT")]
    min_top1: Option<f64>,
}

/// The verdict beside what the float network does with the same images.
#[derive(Debug, Serialize)]
struct Report {
    float_top1: Option<f64>,
    #[serde(flatten)]
    verdict: Verdict,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let packed = model::read_packed(&arguments.model)?;
    let data = model::load_images(&arguments.data, arguments.limit)?;
    let run = match &arguments.run {
        Some(run) => Some(run.clone()),
        None => Origin::find(&arguments.model, &packed)?,
    };
    let float_top1 = match run {
        Some(run) => {
            let teacher = Graph::load(&model::teacher_path(&run))?;
            Some(model::float_top1(context.output, &teacher, &data)?)
        }
        None => {
            context
                .output
                .say("The run is not known: no float accuracy; --run RUN gives it");
            None
        }
    };
    let mut client = arguments.link.connect(context)?;
    let options = board::Options {
        layers: arguments.layers,
    };
    let verdict = compare(context.output, &mut client, &packed, &data, options)?;
    let report = Report {
        float_top1,
        verdict,
    };
    context.output.result(&report, || text(&report))?;
    if !report.verdict.is_equal() {
        return Ok(Outcome::No);
    }
    Ok(model::judge(
        context.output,
        Some(report.verdict.board_top1),
        arguments.min_top1,
    ))
}

/// Runs the images on the board and here.
pub(crate) fn compare(
    output: Output,
    client: &mut Client,
    packed: &[u8],
    data: &Dataset,
    options: board::Options,
) -> Result<Verdict, Failure> {
    let bar = output.bar(data.len() as u64, "verifying");
    let verdict = board::verify(client, packed, data, options, &mut |progress| {
        bar.set_position(progress.images as u64);
        let accuracy = 100.0 * progress.correct as f64 / progress.images.max(1) as f64;
        bar.set_message(format!("{} equal, {accuracy:.1} % correct", progress.equal));
    });
    bar.finish_and_clear();
    verdict.map_err(explain)
}

fn text(report: &Report) -> String {
    let Report {
        float_top1,
        verdict,
    } = report;
    let percent = |top1: f64| format!("{top1:.2} %");
    let mut rows = vec![("board", format!("{} ({})", verdict.board, verdict.core))];
    rows.extend(float_top1.map(|top1| ("float", percent(top1))));
    rows.extend([
        ("host, integers", percent(verdict.quantized_top1)),
        ("board", percent(verdict.board_top1)),
        ("agreement", agreement(verdict)),
    ]);
    if let Some(generation) = verdict.calibration {
        rows.push(("calibration", format!("{generation} is in use, here too")));
    }
    rows.extend(effort(verdict).map(|effort| ("per inference", effort)));
    rows.push((
        "arena",
        format!("{} bytes", grouped(verdict.arena_bytes.into())),
    ));
    rows.extend(
        verdict
            .stack_bytes
            .map(|bytes| ("stack", format!("{} bytes", grouped(bytes.into())))),
    );
    if let Some(difference) = &verdict.first_difference {
        rows.push(("first difference", difference.to_string()));
    }
    table(&rows)
}

/// `100 % of 20 images, every logit`.
pub(crate) fn agreement(verdict: &Verdict) -> String {
    let equal = verdict.agreement * verdict.images as f64;
    let percent = 100.0 * verdict.agreement;
    format!(
        "{percent:.4} %: all logits equal in {equal:.0} of {} images",
        verdict.images
    )
}

/// Instructions, cycles or time per inference, as the board counts.
pub(crate) fn effort(verdict: &Verdict) -> Option<String> {
    let counted = [
        (verdict.instructions_per_inference, "instructions"),
        (verdict.cycles_per_inference, "cycles"),
        (verdict.nanoseconds_per_inference, "ns"),
    ];
    counted
        .into_iter()
        .find_map(|(count, unit)| Some(format!("{} {unit}", grouped(count?.round() as u64))))
}
