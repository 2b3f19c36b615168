//! `lowbit verify`.

mod journal;
mod page;
mod task;
mod text;

use std::path::PathBuf;

use clap::Args;
use lowbit_host::board::{BoardSpec, Verdict};
use lowbit_host::data::{Dataset, Source};
use lowbit_host::graph::Graph;
use serde::Serialize;

use super::Context;
use super::failure::{Failure, Outcome};
use super::link::ConnectionArguments;
use super::model::{self, Accuracy, Origin};
use super::output::Output;
pub(crate) use task::compare;
use task::{Found, Task};
pub(crate) use text::{agreement, effort};

const EXAMPLES: &str = "\
Examples:
  lowbit verify --board mps2-an386 model.lowbit --data cifar10:test_batch.bin --limit 100
  lowbit verify --board mps2-an386 model.lowbit --data shapes --limit 20 --layers --json
  lowbit verify --board b-l475e-iot01a model.lowbit --data cifar10:test_batch.bin \\
      --resume verified --report verified.html
  lowbit verify --all model.lowbit --data shapes --limit 20

The board has to hold the model: run `lowbit flash` first. If the board uses a calibration, so does
the comparison. Exits with 1 if any logit of any image differs, or a board's accuracy is below
--min-top1, and with 2 if a board could not be verified.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Name of the board, see `lowbit boards`; several times for several boards at once
    #[arg(long = "board", value_name = "NAME", required_unless_present = "all")]
    boards: Vec<String>,
    /// All boards that are emulated or plugged in and hold the model
    #[arg(long, conflicts_with_all = ["boards", "port", "connect"])]
    all: bool,
    #[command(flatten)]
    connection: ConnectionArguments,
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
    /// Note every comparison in this directory, and go on behind those that are noted there
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// Also write the results as one page that needs nothing else, with plots and the time of every
    /// layer
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Directory of the run that the model comes from, for the accuracy of the float network and of
    /// the trained one [default: as noted beside the model when it was packed]
    #[arg(long, value_name = "RUN")]
    run: Option<PathBuf>,
    /// Exit with 1 if a board's accuracy is below this many percent
    #[arg(long, value_name = "PERCENT")]
    min_top1: Option<f64>,
}

/// The verdicts beside what the networks of the run do with the same images.
#[derive(Debug, Serialize)]
struct Report {
    float_top1: Option<f64>,
    float_top5: Option<f64>,
    fake_quantized_top1: Option<f64>,
    fake_quantized_top5: Option<f64>,
    #[serde(flatten)]
    results: Results,
}

/// A single board's verdict stands for itself.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Results {
    One(Box<Verdict>),
    Several { boards: Vec<Tried> },
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Tried {
    Verified(Box<Verdict>),
    Failed { board: String, error: String },
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let packed = model::read_packed(&arguments.model)?;
    let data = model::load_images(&arguments.data, arguments.limit)?;
    let boards = boards(arguments)?;
    let [float, fake_quantized] = references(context.output, arguments, &packed, &data)?;
    let task = Task {
        context,
        arguments,
        packed: &packed,
        data: &data,
    };
    let (found, mut failed) = task.verify(&boards);
    let several = arguments.all || boards.len() > 1;
    if found.is_empty() && failed.is_empty() {
        return Err(no_board_holds_it());
    }
    let results = match (several, found.as_slice()) {
        (false, [one]) => Results::One(Box::new(one.verdict.clone())),
        (false, _) => return Err(failed.remove(0).1),
        (true, _) => several_results(&found, &failed),
    };
    let report = Report {
        float_top1: float.map(|accuracy| accuracy.top1),
        float_top5: float.and_then(|accuracy| accuracy.top5),
        fake_quantized_top1: fake_quantized.map(|accuracy| accuracy.top1),
        fake_quantized_top5: fake_quantized.and_then(|accuracy| accuracy.top5),
        results,
    };
    if let Some(path) = &arguments.report {
        page::write(path, &task, &report, &found)?;
    }
    context.output.result(&report, || text::of(&report))?;
    match summed_up(&failed) {
        Some(failure) => Err(failure),
        None => Ok(judged(context.output, &found, arguments.min_top1)),
    }
}

fn several_results(found: &[Found], failed: &[(String, Failure)]) -> Results {
    let found = found.iter().map(|found| &found.verdict);
    let verified = found.map(|verdict| Tried::Verified(Box::new(verdict.clone())));
    let failed = failed.iter().map(|(board, failure)| Tried::Failed {
        board: board.clone(),
        error: failure.message().to_owned(),
    });
    Results::Several {
        boards: verified.chain(failed).collect(),
    }
}

/// The worst answer of all boards.
fn judged(output: Output, found: &[Found], min_top1: Option<f64>) -> Outcome {
    let mut outcome = Outcome::Done;
    for Found { verdict, .. } in found {
        let judged = model::judge(output, Some(verdict.board_top1), min_top1);
        if !verdict.is_equal() || judged == Outcome::No {
            outcome = Outcome::No;
        }
    }
    outcome
}

/// What ends the command if some of several boards could not be verified.
fn summed_up(failed: &[(String, Failure)]) -> Option<Failure> {
    let names: Vec<_> = failed.iter().map(|(board, _)| board.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let failure = Failure::new(format!("{} could not be verified", names.join(", ")));
    let interrupted = |(_, failure): &(String, Failure)| failure.is_interruption();
    Some(if failed.iter().any(interrupted) {
        failure.with_outcome(Outcome::Interrupted)
    } else {
        failure
    })
}

fn no_board_holds_it() -> Failure {
    Failure::new("no board that is emulated or plugged in holds the model")
        .hint("write it to one with `lowbit flash --board NAME`; `lowbit boards` lists them")
}

/// Those that were asked for.
fn boards(arguments: &Arguments) -> Result<Vec<BoardSpec>, Failure> {
    let registry = arguments.connection.registry()?;
    if arguments.all {
        let boards = registry.boards().iter();
        let within_reach = boards.filter(|board| arguments.connection.is_within_reach(board));
        return Ok(within_reach.cloned().collect());
    }
    let mut boards: Vec<BoardSpec> = Vec::new();
    for name in &arguments.boards {
        let board = registry.find(name)?;
        if !boards.iter().any(|known| known.name == board.name) {
            boards.push(board.clone());
        }
    }
    if boards.len() > 1 && arguments.connection.is_for_one_board() {
        return Err(Failure::new(
            "--port and --connect lead to a single board, and several are given",
        ));
    }
    Ok(boards)
}

/// Accuracy of the run's float network and of its trained one, as far as there are.
fn references(
    output: Output,
    arguments: &Arguments,
    packed: &[u8],
    data: &Dataset,
) -> Result<[Option<Accuracy>; 2], Failure> {
    let run = match &arguments.run {
        Some(run) => Some(run.clone()),
        None => Origin::find(&arguments.model, packed)?,
    };
    let Some(run) = run else {
        output.say("The run is not known: no float accuracy; --run RUN gives it");
        return Ok([None; 2]);
    };
    let teacher = Graph::load(&model::teacher_path(&run))?;
    let float = model::float_accuracy(output, &teacher, data)?;
    let student = model::find_student(&run)?;
    let trained = student.map(|student| model::fake_quantized_accuracy(output, &student, data));
    Ok([Some(float), trained.transpose()?])
}
