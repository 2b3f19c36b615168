//! The command line: one file per command, each with its flags and what it prints.

mod failure;
mod output;

mod backends;
mod bench;
mod boards;
mod calibrate;
mod demo;
mod direct;
mod doctor;
mod eval;
mod firmware;
mod flash;
mod history;
mod inspect;
mod keys;
mod link;
mod log;
mod model;
mod networks;
mod pack;
mod quantize;
mod report;
mod settings;
mod shifts;
mod snapshots;
mod suggest_bits;
mod training;
mod verify;

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use clap::{Parser, Subcommand};

use failure::{Failure, Outcome};
use output::Output;

/// What every command is given.
struct Context {
    output: Output,
    /// Set by Ctrl-C.
    stop: Arc<AtomicBool>,
}

/// Low-bit networks, trained without the data, verified on the board
#[derive(Debug, Parser)]
#[command(
    name = "lowbit",
    version = version(),
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 it ran and the answer is no (a difference, an accuracy \
                  below --min-top1, does not fit); 2 it could not run; 130 interrupted.\n\n\
                  Start with `lowbit demo`."
)]
struct Cli {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything once: train, quantize, pack, run on an emulated board, verify
    Demo(demo::Arguments),
    /// Train a low-bit network from a float one, without data
    Quantize(Box<quantize::Arguments>),
    /// Show the settings of a training run that flags, file and preset give
    Settings(Box<settings::Arguments>),
    /// Find widths, layer by layer, with which a network fits into a file of a given size
    SuggestBits(Box<suggest_bits::Arguments>),
    /// Write a run's page of curves, samples, weights and settings
    Report(report::Arguments),
    /// Turn a run into one file for the board
    Pack(pack::Arguments),
    /// Make the keys that models are signed with
    Keys(keys::Arguments),
    /// Show what a packed model consists of
    Inspect(inspect::Arguments),
    /// Measure the accuracy of a packed model or a run on this computer
    Eval(eval::Arguments),
    /// List the networks that are known by name
    Networks(networks::Arguments),
    /// Measure how fast this computer runs a packed model, or a board, layer by layer
    Bench(bench::Arguments),
    /// List the boards that are known, and the GPUs of this computer
    Boards(boards::Arguments),
    /// Check what this computer needs to work with boards, and say how to mend what is missing
    Doctor(doctor::Arguments),
    /// Write a packed model to a board, or install the board's firmware
    Flash(flash::Arguments),
    /// Compare a board with this computer, bit for bit
    Verify(verify::Arguments),
    /// Adapt a packed model to the images of a sensor
    Calibrate(Box<calibrate::Arguments>),
    /// Apply what sensors do to images: noise, blur, light and others
    Shifts(shifts::Arguments),
}

/// Versions that have to match those of a file or a board.
fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        format!(
            "{} (model format {}, protocol {})",
            env!("CARGO_PKG_VERSION"),
            lowbit_runtime::format::VERSION,
            lowbit_runtime::protocol::PROTOCOL_VERSION
        )
    });
    &VERSION
}

/// Parses the command line and runs the command.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start(cli.output);
    match prepare(cli.output).and_then(|context| run(&context, cli.command)) {
        Ok(outcome) => outcome.into(),
        Err(failure) => {
            // Nobody is left to tell if standard error is closed.
            let _ = writeln!(std::io::stderr(), "{failure}");
            log::told!(error, failure);
            failure.exit_code()
        }
    }
}

fn run(context: &Context, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Demo(arguments) => demo::run(context, &arguments),
        Command::Quantize(arguments) => quantize::run(context, &arguments),
        Command::Settings(arguments) => settings::run(context, &arguments),
        Command::SuggestBits(arguments) => suggest_bits::run(context, &arguments),
        Command::Report(arguments) => report::run(context, &arguments),
        Command::Pack(arguments) => pack::run(context, &arguments),
        Command::Keys(arguments) => keys::run(context, &arguments),
        Command::Inspect(arguments) => inspect::run(context, &arguments),
        Command::Eval(arguments) => eval::run(context, &arguments),
        Command::Networks(arguments) => networks::run(context, &arguments),
        Command::Bench(arguments) => bench::run(context, &arguments),
        Command::Boards(arguments) => boards::run(context, &arguments),
        Command::Doctor(arguments) => doctor::run(context, &arguments),
        Command::Flash(arguments) => flash::run(context, &arguments),
        Command::Verify(arguments) => verify::run(context, &arguments),
        Command::Calibrate(arguments) => calibrate::run(context, &arguments),
        Command::Shifts(arguments) => shifts::run(context, &arguments),
    }
}

/// The first Ctrl-C asks the command to finish what it is doing, the second one ends it.
fn prepare(output: Output) -> Result<Context, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })?;
    Ok(Context { output, stop })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn flags_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                help.contains("lowbit "),
                "`lowbit {} --help`",
                command.get_name()
            );
        }
    }
}
