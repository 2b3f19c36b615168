//! The settings of a training run as flags, and `lowbit settings`, which shows them.

use std::path::PathBuf;

use clap::Args;
use lowbit_host::dfq::config::{self, Config, Preset, Widths};
use lowbit_host::dfq::device::DeviceName;
use lowbit_host::dfq::methods::{Method, Part};
use lowbit_host::dfq::ranges::RangeChoice;
use lowbit_host::dfq::stages::Estimate;
use serde::Serialize;

use super::Context;
use super::failure::{Failure, Outcome};

const EXAMPLES: &str = "\
Examples:
  lowbit settings --preset imagenet-resnet18 --bits w4a4
  lowbit settings --preset cifar10 --bits w3a3 --epochs 20 > short.toml
  lowbit quantize --config short.toml --network resnet20 --weights resnet20.safetensors --out runs/1

A flag goes over the file given with --config, the file over the preset.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: Settings,
}

/// Prints the resolved settings as TOML, or as JSON with `--json`.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let config = arguments.settings.resolve()?;
    let text = toml::to_string(&config)?;
    context.output.result(&config, || text)?;
    Ok(Outcome::Done)
}

/// Keys and values of all settings, those of tables within with the table's name in front.
pub(crate) fn flattened(table: &toml::Table) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => {
                let inner = flattened(inner).into_iter();
                all.extend(inner.map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            toml::Value::String(text) => all.push((key.clone(), text.clone())),
            value => all.push((key.clone(), value.to_string())),
        }
    }
    all
}

/// Where settings come from.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// Read settings from a TOML file; flags go over it
    ///
    /// Keys are the flags' names with `_` for `-`. `lowbit settings` prints such a file, and every
    /// run keeps its own as `config.toml`.
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

impl Settings {
    /// Flags over file over preset.
    pub(crate) fn resolve(&self) -> Result<Config, Failure> {
        let flags = toml::Table::try_from(&self.flags)?;
        Ok(config::resolve(self.config.as_deref(), flags)?)
    }
}

/// A flag for every key of the settings, named like it. In the symbols, P is the float network, Q
/// the quantized one, G the generator, z_P and z_Q are logits.
#[derive(Debug, Args, Serialize)]
struct Flags {
    /// Start from the settings of this name [default: cifar10]
    ///
    /// cifar10, cifar100 (ResNet-20), imagenet-resnet18, imagenet-mobilenetv2, imagenet-resnet50:
    /// the rows of the paper's table, which depend on --bits; shapes: a short schedule for the
    /// built-in images; best: for CIFAR, a short game with a refinement, better than the paper's.
    #[arg(long, value_name = "NAME", help_heading = "Settings")]
    preset: Option<Preset>,
    /// Bits of weights and activations, 2 to 8 each, e.g. w4a4; needed here or in the file
    ///
    /// The same in all layers, first and last included, as in the paper, unless layers are named:
    /// w4a4,first=w8a8,last=w8a8,layer1.0.conv1=w3a4. aN is what the layer reads; a value that
    /// several layers read has the largest of their widths. Weights are quantized per output channel
    /// between their minimum and maximum, activations per tensor.
    #[arg(long, value_name = "wNaN[,LAYER=wNaN]", help_heading = "Settings")]
    bits: Option<Widths>,
    /// adadfq, or a method to compare it with [default: adadfq]
    ///
    /// gdfq trains as well; aac-abn and zeroq take ranges from images optimised from noise, ptq from
    /// those of --data.
    #[arg(long, value_name = "NAME", help_heading = "Settings")]
    method: Option<Method>,
    /// Seed of all random numbers [default: 0]
    ///
    /// The same seed on the same machine gives the same network, bit for bit.
    #[arg(long, value_name = "N", help_heading = "Settings",
        value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Where training runs: cpu, cuda:N or cpu-composed [default: cpu]
    ///
    /// cuda:N is an NVIDIA GPU and needs a build with --features cuda; cpu-composed computes on the
    /// CPU what a GPU would, slowly, to look for faults. A run may go on on another device.
    #[arg(long, value_name = "DEVICE", help_heading = "Device")]
    device: Option<DeviceName>,
    /// Multiply matrices on a GPU with 10 bits of fraction [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", help_heading = "Device")]
    tf32: Option<bool>,
    /// Compute G and P on a GPU with 7 bits of fraction; Q stays exact [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", help_heading = "Device")]
    bf16: Option<bool>,

    /// Epochs in all, warm-up included, at least 1 [default: 400]
    #[arg(long, value_name = "N", help_heading = "Schedule")]
    epochs: Option<usize>,
    /// Training steps per epoch, at least 1 [default: 200]
    #[arg(long, value_name = "N", help_heading = "Schedule")]
    iterations: Option<usize>,
    /// Epochs at the start in which only G is trained [default: 4; ImageNet 50 or 100]
    ///
    /// Q learns nothing from the noise that G makes at first. After the warm-up Q still has P's
    /// weights, with ranges from generated images: the accuracy reported as `naive`.
    #[arg(long, value_name = "N", help_heading = "Schedule")]
    warmup_epochs: Option<usize>,
    /// Epochs at the start in which Q's activation ranges follow the images, at least 1 [default: 4]
    ///
    /// Afterwards they are frozen. The published code has 4, whatever the warm-up.
    #[arg(long, value_name = "N", help_heading = "Schedule")]
    observe_epochs: Option<usize>,
    /// Images per training step, at least 2 [default: 16]
    #[arg(long, value_name = "N", help_heading = "Schedule")]
    batch: Option<usize>,

    /// lambda_l, lower bound of H', 0 to lambda_u [default: 0.1; ImageNet 0.1 to 0.4]
    ///
    /// H' is the entropy of the disagreement p_ds = softmax(z_P - z_Q), scaled to 0..1 within the
    /// batch. A sample below lambda_l disagrees too much: Q cannot learn it (it under-fits). The
    /// loss of G has mean max(lambda_l - H', 0).
    #[arg(long, value_name = "X", help_heading = "Loss of the generator, L_G")]
    lambda_l: Option<f64>,
    /// lambda_u, upper bound of H', lambda_l to 1 [default: 0.8]
    ///
    /// A sample above lambda_u has nothing left to teach: P and Q agree (Q over-fits). The loss of
    /// G has mean max(H' - lambda_u, 0).
    #[arg(long, value_name = "X", help_heading = "Loss of the generator, L_G")]
    lambda_u: Option<f64>,
    /// alpha_ds, weight of L_ds = CE(p_ds, y), at least 0 [default: 0.2; ImageNet 0.1 to 0.3]
    ///
    /// Makes samples on which P and Q disagree: P sees the class y that was asked for, Q does not.
    #[arg(long, value_name = "X", help_heading = "Loss of the generator, L_G")]
    alpha_ds: Option<f64>,
    /// alpha_as, weight of L_as = CE(p_as, y), at least 0 [default: 0.1]
    ///
    /// The opposing force: with the agreement p_as = softmax(z_P + z_Q), makes samples that both
    /// networks see as class y.
    #[arg(long, value_name = "X", help_heading = "Loss of the generator, L_G")]
    alpha_as: Option<f64>,
    /// beta, weight of alpha_ds L_ds + alpha_as L_as, at least 0 [default: 1]
    #[arg(long, value_name = "X", help_heading = "Loss of the generator, L_G")]
    beta: Option<f64>,
    /// gamma, weight of L_BNS, at least 0 [default: 1]
    ///
    /// L_BNS is the distance between the statistics of the generated images in front of every
    /// BatchNorm of P and those that P remembers of its training data.
    #[arg(long, value_name = "X", help_heading = "Loss of the generator, L_G")]
    gamma: Option<f64>,
    /// Leave out a part of L_G: l_ds, l_as or margin; several with commas
    ///
    /// The ablations of the paper. `margin` is the bounds lambda_l and lambda_u. Only for adadfq.
    #[arg(
        long,
        value_name = "PART",
        value_delimiter = ',',
        help_heading = "Loss of the generator, L_G"
    )]
    without: Option<Vec<Part>>,

    /// T, temperature of Q's loss, above 0 [default: 20; ImageNet 5]
    ///
    /// AdaDFQ: L_Q = -T^2 mean H(softmax((z_P - z_Q) / T)), least where the logits agree up to a
    /// shift. GDFQ: the temperature of its divergence.
    #[arg(
        long,
        value_name = "X",
        help_heading = "Loss of the quantized network, L_Q"
    )]
    temperature: Option<f64>,
    /// alpha, weight of the divergence in GDFQ's L_Q, at least 0 [default: 1]
    #[arg(
        long,
        value_name = "X",
        help_heading = "Loss of the quantized network, L_Q"
    )]
    alpha: Option<f64>,

    /// Initial step size of Q, above 0 [default: 1e-4; ImageNet 1e-5, ResNet-50 1e-4]
    #[arg(
        long,
        value_name = "RATE",
        alias = "learning-rate",
        help_heading = "Optimizers"
    )]
    student_learning_rate: Option<f64>,
    /// Initial step size of G, above 0 [default: 1e-3]
    #[arg(long, value_name = "RATE", help_heading = "Optimizers")]
    generator_learning_rate: Option<f64>,
    /// Epochs after which both step sizes drop to a tenth [default: 100,200,300]
    #[arg(
        long,
        value_name = "N,N,..",
        value_delimiter = ',',
        help_heading = "Optimizers"
    )]
    learning_rate_steps: Option<Vec<usize>>,
    /// Nesterov's momentum of Q, at least 0 and below 1 [default: 0.9]
    ///
    /// G has Adam with (0.5, 0.999).
    #[arg(long, value_name = "X", help_heading = "Optimizers")]
    momentum: Option<f64>,
    /// Weight decay of Q, at least 0 [default: 1e-4]
    #[arg(long, value_name = "X", help_heading = "Optimizers")]
    weight_decay: Option<f64>,

    /// Numbers of noise per image, at least 1 [default: 100]
    #[arg(long, value_name = "N", help_heading = "Generator and ranges")]
    latent: Option<usize>,
    /// Follow activation ranges with the published code's recursion [default: false]
    ///
    /// It feeds the corrected range back, which needs some 240 updates to forget its start; the
    /// default is the textbook's bias correction.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", help_heading = "Generator and ranges")]
    reference_ema: Option<bool>,

    /// How methods that train nothing choose ranges: min-max, percentile or mse [default: min-max]
    #[arg(
        long,
        value_name = "CHOICE",
        help_heading = "Methods that train nothing"
    )]
    ranges: Option<RangeChoice>,
    /// Percent of the values kept at each end by --ranges percentile, above 50 [default: 99.9]
    #[arg(
        long,
        value_name = "PERCENT",
        help_heading = "Methods that train nothing"
    )]
    percentile: Option<f64>,
    #[command(flatten)]
    #[serde(skip_serializing_if = "SynthesisFlags::is_empty")]
    synthesis: SynthesisFlags,

    /// Batches to re-estimate BatchNorm of Q with at the end, 0 for none [default: 0]
    ///
    /// AAC-ABN's adaptive BN: quantized layers shift the mean and the variance that P's statistics
    /// describe.
    #[arg(long, value_name = "N", help_heading = "After training")]
    batch_norm_batches: Option<usize>,
    /// What becomes of these statistics: running or difference [default: running]
    ///
    /// running takes them over; difference only what sets them apart from those of P on the same
    /// images, so that any images do.
    #[arg(long, value_name = "ESTIMATE", help_heading = "After training")]
    batch_norm_estimate: Option<Estimate>,
    /// Share of the newest batch in these statistics, above 0 to 1 [default: 0.1]
    #[arg(long, value_name = "X", help_heading = "After training")]
    batch_norm_momentum: Option<f64>,
    #[command(flatten)]
    #[serde(skip_serializing_if = "RefinementFlags::is_empty")]
    refinement: RefinementFlags,
}

/// What follows the game: Q alone learns from a pool of the game's images, with its ranges.
#[derive(Debug, Default, PartialEq, Args, Serialize)]
#[command(next_help_heading = "Refinement after the game")]
struct RefinementFlags {
    /// Epochs after the game, in which Q alone learns, with its ranges [default: 0; best 20]
    ///
    /// From a fixed pool of the game's images, by the divergence from P's answer and the difference
    /// of P's and Q's blocks. Ranges are learned step sizes (LSQ). Not part of the paper.
    #[arg(
        id = "refinement_epochs",
        long = "refinement-epochs",
        alias = "refine-epochs",
        value_name = "N"
    )]
    epochs: Option<usize>,
    /// Images per iteration of the refinement, at least 1 [default: 32]
    #[arg(id = "refinement_batch", long = "refinement-batch", value_name = "N")]
    batch: Option<usize>,
    /// Images in the pool, at least 1 [default: 4096]
    #[arg(id = "refinement_pool", long = "refinement-pool", value_name = "N")]
    pool: Option<usize>,
    /// Initial step size of weights, biases and BatchNorms, above 0 [default: 1e-3]
    ///
    /// In Adam's steps; like the next two it follows half a cosine to 0.
    #[arg(
        id = "refinement_learning_rate",
        long = "refinement-learning-rate",
        value_name = "RATE"
    )]
    learning_rate: Option<f64>,
    /// Initial step size of the weights' quantization steps, 0 keeps them [default: 1e-3]
    #[arg(
        id = "refinement_weight_range_learning_rate",
        long = "refinement-weight-range-learning-rate",
        value_name = "RATE"
    )]
    weight_range_learning_rate: Option<f64>,
    /// Initial step size of the activations' quantization steps, 0 keeps them [default: 3e-3]
    #[arg(
        id = "refinement_activation_range_learning_rate",
        long = "refinement-activation-range-learning-rate",
        value_name = "RATE"
    )]
    activation_range_learning_rate: Option<f64>,
    /// Start from ranges with the least squared error [default: true]
    #[arg(id = "refinement_fitted_ranges", long = "refinement-fitted-ranges", value_name = "BOOL",
        num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    fitted_ranges: Option<bool>,
    /// Weight of the divergence of Q's logits from P's, at least 0 [default: 1]
    #[arg(
        id = "refinement_divergence",
        long = "refinement-divergence",
        value_name = "X"
    )]
    divergence: Option<f64>,
    /// Temperature of that divergence, above 0 [default: 4]
    #[arg(
        id = "refinement_temperature",
        long = "refinement-temperature",
        value_name = "X"
    )]
    temperature: Option<f64>,
    /// Weight of the difference of P's and Q's residual blocks, at least 0 [default: 30]
    #[arg(
        id = "refinement_alignment",
        long = "refinement-alignment",
        value_name = "X"
    )]
    alignment: Option<f64>,
    /// Share of every activation left unquantized in an iteration, at least 0, below 1 [default: 0]
    ///
    /// Other elements each time (QDrop), so that Q does not learn the rounding of the pool's images
    /// by heart.
    #[arg(
        id = "refinement_dropped",
        long = "refinement-dropped",
        value_name = "X"
    )]
    dropped: Option<f64>,
}

impl RefinementFlags {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Images optimised from noise, for aac-abn and zeroq.
#[derive(Debug, Default, PartialEq, Args, Serialize)]
#[command(next_help_heading = "Methods that train nothing")]
struct SynthesisFlags {
    /// Images to optimise from noise, at least 1 [default: 128]
    #[arg(
        id = "synthesis_images",
        long = "synthesis-images",
        alias = "synthetic-images",
        value_name = "N"
    )]
    images: Option<usize>,
    /// Images that are optimised together, at least 1 [default: 64]
    #[arg(id = "synthesis_batch", long = "synthesis-batch", value_name = "N")]
    batch: Option<usize>,
    /// Steps to optimise them in, for each batch [default: 200]
    #[arg(id = "synthesis_steps", long = "synthesis-steps", value_name = "N")]
    steps: Option<usize>,
    /// Step size at the start, in units of normalised images, above 0 [default: 0.1]
    #[arg(
        id = "synthesis_learning_rate",
        long = "synthesis-learning-rate",
        value_name = "RATE"
    )]
    learning_rate: Option<f64>,
    /// Weight of the logit of the assigned class, which is pushed up [default: by the method]
    #[arg(
        id = "synthesis_class_logit",
        long = "synthesis-class-logit",
        value_name = "X"
    )]
    class_logit: Option<f64>,
    /// Weight of L_BNS on these images [default: by the method]
    #[arg(
        id = "synthesis_statistics",
        long = "synthesis-statistics",
        value_name = "X"
    )]
    statistics: Option<f64>,
    /// Weight of the total variation, an image prior [default: by the method]
    #[arg(
        id = "synthesis_total_variation",
        long = "synthesis-total-variation",
        value_name = "X"
    )]
    total_variation: Option<f64>,
    /// Weight of the mean square, an image prior [default: by the method]
    #[arg(id = "synthesis_l2", long = "synthesis-l2", value_name = "X")]
    l2: Option<f64>,
}

impl SynthesisFlags {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::Cli;
    use super::*;

    fn help() -> String {
        let mut command = Cli::command();
        command.build();
        let quantize = command.find_subcommand_mut("quantize").unwrap();
        quantize.render_long_help().to_string()
    }

    #[test]
    fn every_setting_has_a_flag_under_a_heading_of_its_own() {
        let keys = flattened(&toml::Table::try_from(Config::default()).unwrap());
        assert!(keys.len() > 20, "{keys:?}");
        let command = Cli::command();
        let quantize = command.find_subcommand("quantize").unwrap();
        for (key, _) in keys {
            let key = key.replace('.', "_");
            let flag = key.replace('_', "-");
            let argument = quantize
                .get_arguments()
                .find(|argument| argument.get_long() == Some(&flag))
                .unwrap_or_else(|| panic!("`{key}` has no flag `--{flag}`"));
            assert_eq!(argument.get_id(), &key);
            assert!(argument.get_help_heading().is_some(), "--{flag}");
            assert!(argument.get_help().is_some(), "--{flag}");
        }
    }

    #[test]
    fn the_help_speaks_of_every_symbol_of_the_paper() {
        let help = help();
        for symbol in [
            "lambda_l", "lambda_u", "alpha_ds", "alpha_as", "beta", "gamma", "H'", "p_ds", "p_as",
            "L_BNS", "L_G", "L_Q", "T^2",
        ] {
            assert!(help.contains(symbol), "{symbol} in\n{help}");
        }
    }

    #[test]
    fn flags_that_are_not_given_leave_no_trace() {
        let words = [
            "lowbit",
            "settings",
            "--bits",
            "w2a3",
            "--without",
            "l_ds,margin",
        ];
        let cli = <Cli as clap::Parser>::parse_from(words);
        let super::super::Command::Settings(arguments) = cli.command else {
            panic!("{cli:?}");
        };
        let table = toml::Table::try_from(&arguments.settings.flags).unwrap();
        assert_eq!(table.keys().collect::<Vec<_>>(), ["bits", "without"]);
        let config = arguments.settings.resolve().unwrap();
        assert_eq!(config.without, [Part::LDs, Part::Margin]);
    }
}
