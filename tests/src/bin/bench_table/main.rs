//! Measures single layers and whole networks on every emulated core, beside the figures of
//! CMSIS-NN: `scripts/bench-table`.
//!
//! | file | subject |
//! | --- | --- |
//! | `workloads` | the layers and networks |
//! | `measure` | running the firmware `boards/bench` on a core |
//! | `peers` | what CMSIS-NN needs |
//! | `figures` | counts, kept in `docs/kernels.json` |
//! | `table` | `docs/kernels.md` |

mod figures;
mod measure;
mod peers;
mod table;
mod workloads;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use figures::Figures;
use lowbit_tests::CORES;

const USAGE: &str = "\
usage: scripts/bench-table [--check]

Measures every layer and network on every core and writes docs/kernels.json and docs/kernels.md.
  --check   only compare: fail if a count is more than 2 % above the committed one";

/// Text for people.
fn say(text: &str) {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn main() -> ExitCode {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let check = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--check"] => true,
        _ => {
            say(USAGE);
            return ExitCode::from(2);
        }
    };
    match run(check) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(reason) => {
            say(&format!("bench-table: {reason}"));
            ExitCode::from(2)
        }
    }
}

/// Whether all is well.
fn run(check: bool) -> Result<bool, String> {
    let workloads = workloads::all();
    let mut figures = Figures::default();
    for core in &CORES {
        say(&format!("Measuring {}", core.name));
        let counts = measure::measure(core, &workloads)?;
        for (workload, count) in workloads.iter().zip(counts) {
            figures.set(&workload.key(), core.name, count);
        }
    }
    let documents = lowbit_tests::repository().join("docs");
    let path = documents.join("kernels.json");
    if check {
        return Ok(compare(&Figures::read(&path)?, &figures));
    }
    figures.write(&path)?;
    let path = documents.join("kernels.md");
    let before = fs_err::read_to_string(&path).map_err(|error| error.to_string())?;
    write(path, &table::text(&workloads, &figures, &before))?;
    Ok(true)
}

fn compare(committed: &Figures, measured: &Figures) -> bool {
    let worse = measured.worse_than(committed);
    for line in &worse {
        say(line);
    }
    if !worse.is_empty() {
        say("If that has to be, run scripts/bench-table and commit docs/kernels.*");
    }
    worse.is_empty()
}

fn write(path: PathBuf, text: &str) -> Result<(), String> {
    fs_err::write(path, text).map_err(|error| error.to_string())
}
