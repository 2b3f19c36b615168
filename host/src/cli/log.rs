//! What is logged where: to standard error what the user asks for, to the log of a run what the
//! user is told and whatever has level `info` or above.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fs_err as fs;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use super::output::Output;

/// Target of messages that standard error has got already.
macro_rules! told {
    ($level:ident, $text:expr) => {
        tracing::$level!(target: "told", "{}", $text)
    };
}
pub(crate) use told;

static RUN_LOG: Mutex<Option<fs::File>> = Mutex::new(None);

fn run_log() -> MutexGuard<'static, Option<fs::File>> {
    RUN_LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes to the log of the run under way, if there is one.
struct RunLog;

impl Write for RunLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match run_log().as_mut() {
            Some(file) => file.write(bytes),
            None => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts logging; once per process.
pub(crate) fn start(output: Output) {
    let level = match output.verbose {
        0 if output.quiet => "error",
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let filter = match "told=off".parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    let terminal = fmt::layer().with_writer(io::stderr).with_filter(filter);
    let run = fmt::layer()
        .with_ansi(false)
        .with_target(false)
        .with_writer(|| RunLog)
        .with_filter(LevelFilter::INFO);
    tracing_subscriber::registry()
        .with(terminal)
        .with(run)
        .init();
}

/// From now on the log goes to `run.log` in the directory of a run as well, behind what an earlier
/// command has left there.
pub(crate) fn keep_in(run: &Path) -> io::Result<()> {
    let path = run.join("run.log");
    let file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    *run_log() = Some(file);
    tracing::info!("lowbit {}", env!("CARGO_PKG_VERSION"));
    Ok(())
}
