//! `lowbit keys`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use lowbit_host::keys::{KeyError, SecretKey};
use serde::Serialize;

use super::Context;
use super::failure::{Failure, Outcome};
use super::output::table;

const EXAMPLES: &str = "\
Examples:
  lowbit keys new release
  lowbit pack runs/w4a4 --sign release.key --model-version 1 --out model.lowbit
  LOWBIT_MODEL_KEY=release.pub scripts/build-firmware mps2-an386";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a pair of keys: NAME.key, which signs models and stays secret, and NAME.pub, which
    /// firmware is built with
    New {
        /// Path and name of the files
        name: PathBuf,
    },
}

#[derive(Debug, Serialize)]
struct Report {
    secret: String,
    public: String,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let Command::New { name } = &arguments.command;
    let [secret, public] = ["key", "pub"].map(|ending| {
        let mut path = name.as_os_str().to_owned();
        path.push(format!(".{ending}"));
        PathBuf::from(path)
    });
    write_new(&secret, &public).map_err(|error| {
        let exists = secret.exists() || public.exists();
        let failure = Failure::from(error);
        match exists {
            true => failure.hint("keys are never overwritten: choose another name"),
            false => failure,
        }
    })?;
    let report = Report {
        secret: secret.display().to_string(),
        public: public.display().to_string(),
    };
    context.output.result(&report, || text(&report))?;
    Ok(Outcome::Done)
}

fn write_new(secret: &Path, public: &Path) -> Result<(), KeyError> {
    let key = SecretKey::generate()?;
    // A public key alone would be of no use, so it must be the one that is new.
    key.public().write(public)?;
    key.write(secret).inspect_err(|_| {
        let _ = fs_err::remove_file(public);
    })
}

fn text(report: &Report) -> String {
    table(&[
        ("to sign with, secret", report.secret.clone()),
        ("to build firmware with", report.public.clone()),
    ])
}
