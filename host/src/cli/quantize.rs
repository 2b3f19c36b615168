//! `lowbit quantize`.

use std::path::PathBuf;

use clap::Args;
use lowbit_host::data::{Dataset, Source};
use lowbit_host::dfq::config::{Bits, Config, Preset};
use lowbit_host::dfq::methods::{Method, Part};
use lowbit_host::dfq::ranges::RangeChoice;
use lowbit_host::dfq::refinement::Settings as Refinement;
use lowbit_host::dfq::synthesis::Synthesis;
use lowbit_host::graph::Graph;

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
  lowbit quantize --weights net.onnx --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 \\
      --bits w4a4 --out runs/onnx

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
    /// Images to take the ranges from, for the method ptq
    #[arg(long, value_name = "DATA")]
    data: Option<Source>,
    /// Use only the first N of these images
    #[arg(long, value_name = "N", requires = "data")]
    data_limit: Option<usize>,
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
    /// Settings of a training schedule: cifar10, cifar100 or shapes; best is for the first two, with
    /// a refinement after the game
    #[arg(long, default_value = "cifar10")]
    preset: Preset,
    /// adadfq, or a method to compare it with: gdfq trains as well; aac-abn and zeroq take ranges
    /// from images optimised from noise, ptq from those of --data
    #[arg(long, default_value_t)]
    method: Method,
    /// Leave out a part of AdaDFQ's loss of the generator: l_ds, l_as or margin; may be repeated
    #[arg(long, value_name = "PART")]
    without: Vec<Part>,
    /// How the methods that train nothing choose ranges: min-max, percentile or mse
    #[arg(long, value_name = "CHOICE")]
    ranges: Option<RangeChoice>,
    /// Images to optimise from noise, for aac-abn and zeroq
    #[arg(long, value_name = "N")]
    synthetic_images: Option<usize>,
    /// Steps to optimise them in
    #[arg(long, value_name = "N")]
    synthesis_steps: Option<usize>,
    /// Batches to re-estimate the statistics of BatchNorm with, at the end
    #[arg(long, value_name = "N")]
    batch_norm_batches: Option<usize>,
    /// Passes of `--iterations` steps each, warm-up included
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Training steps per epoch
    #[arg(long, value_name = "N")]
    iterations: Option<usize>,
    /// Epochs at the start in which only the generator is trained
    #[arg(long, value_name = "N")]
    warmup_epochs: Option<usize>,
    /// Epochs after those, in which the quantized network alone learns, with its ranges
    #[arg(long, value_name = "N")]
    refine_epochs: Option<usize>,
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
            synthesis: Synthesis {
                images: self.synthetic_images.unwrap_or(preset.synthesis.images),
                steps: self.synthesis_steps.unwrap_or(preset.synthesis.steps),
                ..preset.synthesis
            },
            ranges: self.ranges.unwrap_or(preset.ranges),
            batch_norm_batches: self.batch_norm_batches.unwrap_or(preset.batch_norm_batches),
            refinement: Refinement {
                epochs: self.refine_epochs.unwrap_or(preset.refinement.epochs),
                ..preset.refinement
            },
            seed: self.seed,
            reference_ema: self.reference_ema,
            ..preset
        }
    }
}

/// The user's images, for a method that takes some, and for no other.
fn load_data(
    arguments: &Arguments,
    config: &Config,
    teacher: &Graph,
) -> Result<Option<Dataset>, Failure> {
    let method = config.method;
    match (method.takes_images(), &arguments.data) {
        (true, None) => {
            let message = format!("the method `{method}` takes ranges from images; none are given");
            Err(Failure::new(message)
                .hint("give some with --data; adadfq, aac-abn and zeroq need none"))
        }
        (false, Some(_)) => {
            let message = format!("the method `{method}` uses no images, --data has no effect");
            Err(Failure::new(message).hint(
                "leave it out; --eval measures on images, --method ptq takes ranges from them",
            ))
        }
        (_, source) => model::load_evaluation(source.as_ref(), arguments.data_limit, teacher),
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
    if !config.method.takes_images() {
        model::require_statistics(&teacher)?;
    }
    let evaluation =
        model::load_evaluation(arguments.eval.as_ref(), arguments.eval_limit, &teacher)?;
    let images = load_data(arguments, &config, &teacher)?;
    let plan = Plan {
        teacher: &teacher,
        config: &config,
        images: images.as_ref(),
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
