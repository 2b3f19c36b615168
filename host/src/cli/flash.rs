//! `lowbit flash`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use lowbit_host::board::{Client, ModelInfo};
use serde::Serialize;

use super::Context;
use super::failure::{Failure, Outcome};
use super::link::{LinkArguments, explain};
use super::output::{Output, grouped, table};
use super::{firmware, model};

const EXAMPLES: &str = "\
Examples:
  lowbit flash --board mps2-an386 model.lowbit
  lowbit flash --board mps2-an386 --state /tmp/boards model.lowbit
  lowbit flash --board b-l475e-iot01a --port /dev/ttyACM0 model.lowbit
  lowbit flash --board raspberry-pi-pico-2 --firmware";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    link: LinkArguments,
    /// Install the board's firmware, as its `board.toml` says, instead of a model
    #[arg(long)]
    firmware: bool,
    /// Drive of a board in its boot mode [default: the one that is mounted]
    #[arg(long, value_name = "DIR", requires = "firmware")]
    drive: Option<PathBuf>,
    /// A packed file
    #[arg(required_unless_present = "firmware", conflicts_with = "firmware")]
    model: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    board: String,
    core: String,
    model_bytes: usize,
    identity: String,
    /// Version of the model, 0 without one.
    version: u32,
    /// Whether the board had this model already.
    unchanged: bool,
    /// Generation of the calibration that stays in use.
    calibration: Option<u32>,
    seconds: f64,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    match &arguments.model {
        Some(model) => flash_model(context, &arguments.link, model),
        None => firmware::install(context, &arguments.link, arguments.drive.as_deref()),
    }
}

fn flash_model(context: &Context, link: &LinkArguments, model: &Path) -> Result<Outcome, Failure> {
    let packed = model::read_packed(model)?;
    let mut client = link.connect(context)?;
    let before = client.greeting().model;
    let start = Instant::now();
    let info = write(context.output, &mut client, &packed)?;
    let greeting = client.greeting();
    let report = Report {
        board: greeting.board.clone(),
        core: greeting.core.clone(),
        model_bytes: packed.len(),
        identity: model::hexadecimal(&info.identity),
        version: info.version,
        unchanged: before.is_some_and(|before| before.identity == info.identity),
        calibration: info.record,
        seconds: start.elapsed().as_secs_f64(),
    };
    context.output.result(&report, || text(&report))?;
    Ok(Outcome::Done)
}

/// Makes `packed` the board's model.
pub(crate) fn write(
    output: Output,
    client: &mut Client,
    packed: &[u8],
) -> Result<ModelInfo, Failure> {
    let bar = output.bar(packed.len() as u64, "writing");
    let written = client.flash(packed, &mut |bytes| bar.set_position(bytes as u64));
    bar.finish_and_clear();
    written.map_err(explain)
}

fn text(report: &Report) -> String {
    let done = if report.unchanged {
        "the board had this model already".to_owned()
    } else {
        let bytes = grouped(report.model_bytes as u64);
        format!(
            "{bytes} bytes written and checked in {:.1} s",
            report.seconds
        )
    };
    let mut rows = vec![
        ("board", format!("{} ({})", report.board, report.core)),
        ("model", done),
        ("identity", report.identity.clone()),
        ("version", report.version.to_string()),
    ];
    if let Some(generation) = report.calibration {
        rows.push(("calibration", format!("{generation} stays in use")));
    }
    table(&rows)
}
