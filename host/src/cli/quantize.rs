//! `lowbit quantize`.

use std::path::PathBuf;

use clap::Args;
use lowbit_host::data::Source;
use lowbit_host::dfq::config::{Bits, Config, Preset};
use lowbit_host::dfq::methods::{Method, Part};

use super::Context;
use super::failure::{Failure, Outcome};
use super::model::{self, NetworkArguments};
use super::training::{self, Plan};

const EXAMPLES: &str = "\
Examples:
  lowbit quantize --network resnet20 --weights resnet20.safetensors --classes 10 \\
      --bits w4a4 --preset cifar10 --eval cifar10:test_batch.bin --out runs/w4a4
  lowbit quantize --network resnet20 --weights resnet20.safetensors --bits w3a3 \\
      --preset cifar10 --epochs 20 --iterations 50 --seed 1 --out runs/short

The run directory holds the settings, the metrics of every epoch as JSON lines, the latest
checkpoint and, at the end, the trained network, its curves and generated images. `lowbit pack`
turns it into one file. Ctrl-C finishes the step under way and keeps a checkpoint: the same command
goes on from there, to the same result.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    network: NetworkArguments,
    #[command(flatten)]
    settings: Settings,
    /// Labelled images to measure the accuracy on; never used for training
    #[arg(long, value_name = "DATA")]
    eval: Option<Source>,
    /// Use only the first N of these images
    #[arg(long, value_name = "N", requires = "eval")]
    eval_limit: Option<usize>,
    /// Exit with 1 if the quantized network's accuracy stays below this many percent
    #[arg(long, value_name = "PERCENT", requires = "eval")]
    min_top1: Option<f64>,
    /// Directory of the run. If it holds this very run, interrupted, training goes on
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// What differs from the preset.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// Bits of weights and activations, 2 to 8 each
    #[arg(long, value_name = "wNaN")]
    bits: Bits,
    /// Settings of a training schedule: cifar10, cifar100 or shapes
    #[arg(long, default_value = "cifar10")]
    preset: Preset,
    /// adadfq, or one of the methods that it is compared with: gdfq
    #[arg(long, default_value_t)]
    method: Method,
    /// Leave out a part of AdaDFQ's loss of the generator: l_ds, l_as or margin; may be repeated
    #[arg(long, value_name = "PART")]
    without: Vec<Part>,
    /// Passes of `--iterations` steps each, warm-up included
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Training steps per epoch
    #[arg(long, value_name = "N")]
    iterations: Option<usize>,
    /// Epochs at the start in which only the generator is trained
    #[arg(long, value_name = "N")]
    warmup_epochs: Option<usize>,
    /// Images per training step
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Step size of the quantized network
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Seed of all random numbers; the same seed on the same machine gives the same network
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Follow activation ranges with the published code's recursion instead of the textbook's
    /// bias correction; it needs some 240 updates to forget its start
    #[arg(long)]
    reference_ema: bool,
}

impl Settings {
    fn config(&self) -> Config {
        let preset = self.preset.config_for(self.method);
        Config {
            bits: self.bits,
            without: self.without.clone(),
            epochs: self.epochs.unwrap_or(preset.epochs),
            iterations: self.iterations.unwrap_or(preset.iterations),
            warmup_epochs: self.warmup_epochs.unwrap_or(preset.warmup_epochs),
            batch: self.batch.unwrap_or(preset.batch),
            student_learning_rate: self.learning_rate.unwrap_or(preset.student_learning_rate),
            seed: self.seed,
            reference_ema: self.reference_ema,
            ..preset
        }
    }
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let config = arguments.settings.config();
    config.check()?;
    let teacher = model::load_network(
        context.output,
        &arguments.network,
        arguments.settings.preset,
    )?;
    let evaluation =
        model::load_evaluation(arguments.eval.as_ref(), arguments.eval_limit, &teacher)?;
    let plan = Plan {
        teacher: &teacher,
        config: &config,
        evaluation: evaluation.as_ref(),
    };
    let result = training::quantize(context, &plan, &arguments.out)?;
    context
        .output
        .result(&result.report, || result.report.to_string())?;
    if result.interrupted {
        return Ok(Outcome::Interrupted);
    }
    Ok(model::judge(
        context.output,
        result.report.quantized_top1,
        arguments.min_top1,
    ))
}
