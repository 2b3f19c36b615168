//! `lowbit shifts`.

use std::path::PathBuf;

use clap::Args;
use lowbit_host::data::{self, Source};
use lowbit_host::shifts::{Corruption, Shift};
use serde::Serialize;

use super::Context;
use super::failure::{Failure, Outcome};
use super::model;
use super::output::columns;

const EXAMPLES: &str = "\
Examples:
  lowbit shifts --data cifar10:test_batch.bin --shift contrast:4 --out shifted
  lowbit shifts --data cifar10:test_batch.bin --limit 1000 --out shifted
  lowbit eval model.lowbit --data npz:shifted/contrast-4.npz

Definitions and severities are in docs/calibration.md.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Images
    #[arg(long, value_name = "DATA")]
    data: Source,
    /// Use only the first N images
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Shifts with their severity of 1 to 5, e.g. contrast:4,noise:3 [default: all, at every severity]
    #[arg(long, value_name = "SHIFT,...", value_delimiter = ',')]
    shift: Vec<Shift>,
    /// Folder for one archive of numpy per shift
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Seed of random shifts
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Serialize)]
struct Written {
    shift: String,
    file: PathBuf,
    images: usize,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let dataset = model::load_images(&arguments.data, arguments.limit)?;
    let shifts = if arguments.shift.is_empty() {
        every()
    } else {
        arguments.shift.clone()
    };
    fs_err::create_dir_all(&arguments.out)?;
    let bar = context.output.bar(shifts.len() as u64, "shifting");
    let mut written = Vec::new();
    for shift in shifts {
        let name = format!("{}-{}.npz", shift.corruption.name(), shift.severity);
        let file = arguments.out.join(name);
        data::write_archive(&file, &shift.apply(&dataset, arguments.seed))?;
        written.push(Written {
            shift: shift.to_string(),
            file,
            images: dataset.len(),
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    context.output.result(&written, || text(&written))?;
    Ok(Outcome::Done)
}

fn every() -> Vec<Shift> {
    let severities = |corruption| {
        (1..=5).map(move |severity| Shift {
            corruption,
            severity,
        })
    };
    Corruption::ALL.into_iter().flat_map(severities).collect()
}

fn text(written: &[Written]) -> String {
    let rows = written.iter().map(|written| {
        vec![
            written.shift.clone(),
            written.file.display().to_string(),
            written.images.to_string(),
        ]
    });
    columns(&["shift", "file", "images"], &rows.collect::<Vec<_>>())
}
