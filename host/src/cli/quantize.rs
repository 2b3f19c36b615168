//! `lowbit quantize`.

use std::path::PathBuf;

use clap::Args;
use lowbit_host::data::{Dataset, Source};
use lowbit_host::dfq::Config;
use lowbit_host::dfq::files::KEPT_CHECKPOINTS;
use lowbit_host::graph::Graph;

use super::Context;
use super::failure::{Failure, Outcome};
use super::model::{self, NetworkArguments};
use super::settings::Settings;
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
turns it into one file; `lowbit settings` shows the settings that flags, file and preset give. Ctrl-C
finishes the step under way and keeps a checkpoint: the same command goes on from there, to the same
result.";

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
    /// Checkpoints to keep, the latest ones; the best network so far is kept beside them
    #[arg(long, value_name = "N", default_value_t = KEPT_CHECKPOINTS)]
    keep: usize,
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
    let config = arguments.settings.resolve()?;
    let teacher = model::load_network(context.output, &arguments.network, config.preset)?;
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
        keep: arguments.keep,
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
