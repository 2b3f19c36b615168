//! Time of a training iteration by part (ResNet-20 at CIFAR size, w4a4, batch 16, after the
//! warm-up), its peak memory, and how near its operators come to a large matrix product; on one
//! thread and on two, or on the numbers of threads given.
//!
//! ```text
//! cargo bench -p lowbit-host --bench training_step
//! cargo bench -p lowbit-host --bench training_step -- 4 8
//! ```
//! Every number of threads has a process of its own. CPU time is that of all threads; on a machine
//! that does other work as well, that of one thread is the figure to trust.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod clock;
mod operators;
mod spans;

use std::{error::Error, process::Command, sync::atomic::AtomicBool};

use lowbit_host::{
    dfq::{Config, RunDirectory, Trainer},
    graph::Normalization,
    zoo,
};
use spans::Stopwatch;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Set for a process that measures.
const MEASURE: &str = "LOWBIT_BENCH_MEASURE";

/// Iterations of the warm-up.
const WARM_UP: usize = 10;
/// Iterations that are measured.
const MEASURED: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::var_os(MEASURE).is_some() {
        return measure();
    }
    // Cargo itself passes `--bench`.
    let arguments = std::env::args().skip(1);
    let mut threads = arguments
        .filter(|word| !word.starts_with("--"))
        .collect::<Vec<_>>();
    if threads.is_empty() {
        threads = vec!["1".to_owned(), "2".to_owned()];
    }
    for threads in threads {
        println!("\n== threads: {threads}");
        let status = Command::new(std::env::current_exe()?)
            .env(MEASURE, "1")
            .env("RAYON_NUM_THREADS", &threads)
            .status()?;
        if !status.success() {
            return Err(format!("the process with {threads} threads failed: {status}").into());
        }
    }
    Ok(())
}

fn measure() -> Result<(), Box<dyn Error>> {
    train()?;
    // Before the operators take memory of their own.
    match clock::peak_memory() {
        Some(kibibytes) => println!("peak resident memory of training: {} MiB", kibibytes / 1024),
        None => println!("peak resident memory of training: not told by this system"),
    }
    operators::measure()
}

fn train() -> Result<(), Box<dyn Error>> {
    let normalization = Normalization {
        mean: vec![0.5; 3],
        std: vec![0.25; 3],
    };
    let mut parameters = zoo::RandomParameters::new(1);
    let network = zoo::network("resnet20")?.build(&mut parameters, 10, normalization)?;
    let config = Config {
        epochs: 1 + MEASURED / WARM_UP,
        warmup_epochs: 1,
        observe_epochs: 1,
        iterations: WARM_UP,
        ..Config::default()
    };
    let mut stopwatch = Stopwatch::install();
    let folder = tempfile::tempdir()?;
    let run = RunDirectory::create(folder.path(), &config)?;
    Trainer::new(network, config)?.run(&run, &mut stopwatch, &AtomicBool::new(false))?;
    stopwatch.print();
    Ok(())
}
