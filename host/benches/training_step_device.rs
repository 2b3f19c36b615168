//! Time of a whole training iteration on a device (ResNet-20 at CIFAR size, w4a4, after the
//! warm-up). Beside it `training_step_device.py` measures the same iteration in PyTorch.
//!
//! ```text
//! cargo bench -p lowbit-host --features cuda --bench training_step_device -- --device cuda:0
//! python3 host/benches/training_step_device.py --device cuda:0
//! ```
//! `--tf32`, `--bf16`, `--batch N` and `--iterations N` mean the same to both. An iteration is timed
//! from report to report; each report waits for the losses.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{error::Error, sync::atomic::AtomicBool, time::Instant};

use lowbit_host::{
    dfq::{
        Config, Iteration, RunDirectory, Trainer, Watcher,
        device::{DeviceName, Rounding},
    },
    graph::Normalization,
    zoo,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Time from one iteration's report to the next in the second epoch, when kernels are loaded and
/// ranges frozen.
struct Stopwatch {
    last: Instant,
    milliseconds: Vec<f64>,
}

impl Watcher for Stopwatch {
    fn iteration(&mut self, iteration: &Iteration) {
        let elapsed = 1e3 * self.last.elapsed().as_secs_f64();
        // A checkpoint lies before the first one.
        if iteration.epoch > 0 && iteration.iteration > 0 {
            self.milliseconds.push(elapsed);
        }
        self.last = Instant::now();
    }
}

struct Options {
    device: DeviceName,
    rounding: Rounding,
    batch: usize,
    iterations: usize,
}

impl Options {
    fn read() -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            device: DeviceName::Cpu,
            rounding: Rounding::default(),
            batch: 16,
            iterations: 50,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("`{word}` needs a value"));
            match word.as_str() {
                "--device" => options.device = value()?.parse()?,
                "--batch" => options.batch = value()?.parse()?,
                "--iterations" => options.iterations = value()?.parse()?,
                "--tf32" => options.rounding.tf32 = true,
                "--bf16" => options.rounding.bf16 = true,
                // From cargo.
                "--bench" => {}
                other => return Err(format!("unknown option `{other}`").into()),
            }
        }
        Ok(options)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read()?;
    let placement = options.device.open(options.rounding)?;
    let normalization = Normalization {
        mean: vec![0.5; 3],
        std: vec![0.25; 3],
    };
    let mut parameters = zoo::RandomParameters::new(1);
    let network = zoo::network("resnet20")?.build(&mut parameters, 10, normalization)?;
    let config = Config {
        epochs: 2,
        warmup_epochs: 1,
        observe_epochs: 1,
        iterations: options.iterations.max(2),
        batch: options.batch,
        ..Config::default()
    };
    let folder = tempfile::tempdir()?;
    let run = RunDirectory::create(folder.path(), &config)?;
    let mut trainer = Trainer::new(network, config)?.placed(&placement)?;
    let mut stopwatch = Stopwatch {
        last: Instant::now(),
        milliseconds: Vec::new(),
    };
    trainer.run(&run, &mut stopwatch, &AtomicBool::new(false))?;
    let mut milliseconds = stopwatch.milliseconds;
    milliseconds.sort_by(f64::total_cmp);
    let median = milliseconds[milliseconds.len() / 2];
    println!(
        "{}: {median:.2} ms per iteration (median of {}), {:.2} at best, {:.0} images/s",
        options.device,
        milliseconds.len(),
        milliseconds[0],
        1e3 * options.batch as f64 / median
    );
    Ok(())
}
