//! `lowbit suggest-bits`.

use std::path::PathBuf;

use candle_core::Tensor;
use clap::Args;
use lowbit_host::data::Source;
use lowbit_host::dfq::images::{DatasetImages, ImageSet};
use lowbit_host::dfq::{Bits, Method, Preset, direct};
use lowbit_host::graph::Graph;
use lowbit_host::suggest::{self, Error, Suggestion, Target, sensitivity};
use parse_size::parse_size;
use serde::Serialize;

use super::Context;
use super::failure::{Failure, Outcome};
use super::model::{self, NetworkArguments};
use super::output::{columns, grouped, table};
use super::pack::GOLDEN_IMAGES;

const EXAMPLES: &str = "\
Examples:
  lowbit suggest-bits --network resnet20 --weights resnet20.safetensors --target-size 120KiB
  lowbit suggest-bits --weights net.onnx --normalization imagenet --target-size 250KiB \\
      --target-ram 64KiB --activations 8 --out widths.toml
  lowbit suggest-bits --weights net.onnx --normalization imagenet --target-ram 48KiB
  lowbit quantize --config widths.toml --weights net.onnx --normalization imagenet --out runs/mixed

Every layer's weights are quantized alone, at every width, and the change of the network's answers
on generated images is measured: the mean divergence KL(P || Q) in nats, shown in thousandths. The
widths suggested have the least sum of these within the size. Activations have one width, as they
take no room in the file, and a byte each in the board's memory at any width.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    network: NetworkArguments,
    /// Most bytes of the packed file as `lowbit pack` writes it, e.g. 100KiB; without it, any
    /// size will do
    #[arg(long, value_name = "SIZE", value_parser = size, required_unless_present = "target_ram")]
    target_size: Option<u64>,
    /// Exit with 1 if an inference needs more bytes of arena than this, e.g. 48KiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    target_ram: Option<u64>,
    /// Bits of all activations, 2 to 8
    #[arg(long, value_name = "BITS", default_value_t = 4, value_parser = clap::value_parser!(u8).range(2..=8))]
    activations: u8,
    /// Least bits of weights
    #[arg(long, value_name = "BITS", default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=8))]
    least: u8,
    /// Most bits of weights
    #[arg(long, value_name = "BITS", default_value_t = 8, value_parser = clap::value_parser!(u8).range(2..=8))]
    most: u8,
    /// Images to measure on; by default as many are generated
    #[arg(long, value_name = "DATA")]
    data: Option<Source>,
    /// How many images to measure on
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    images: u16,
    /// Seed of generated images
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Labelled images to measure the untrained network on, with the widths suggested
    #[arg(long, value_name = "DATA")]
    eval: Option<Source>,
    /// Use only the first N of these images
    #[arg(long, value_name = "N", requires = "eval")]
    eval_limit: Option<usize>,
    /// File of settings for `lowbit quantize --config`
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn size(text: &str) -> Result<u64, parse_size::Error> {
    parse_size(text)
}

#[derive(Debug, Serialize)]
struct Report {
    network: String,
    /// As `lowbit quantize --bits` takes them.
    bits: String,
    target_bytes: Option<u64>,
    model_bytes: u64,
    arena_bytes: u32,
    /// Of the whole network quantized, nothing trained; nats.
    divergence: f64,
    /// Of the same, in percent.
    naive_top1: Option<f64>,
    layers: Vec<Layer>,
}

#[derive(Debug, Serialize)]
struct Layer {
    name: String,
    weights: usize,
    bits: u8,
    /// Of every width that was tried, with only this layer quantized; nats.
    divergences: Vec<Divergence>,
}

#[derive(Debug, Serialize)]
struct Divergence {
    bits: u8,
    divergence: f64,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    if arguments.least > arguments.most {
        let message = format!(
            "--least {} is above --most {}",
            arguments.least, arguments.most
        );
        return Err(Failure::new(message));
    }
    let widths: Vec<u8> = (arguments.least..=arguments.most).collect();
    let graph = model::load_network(context.output, &arguments.network, Preset::default())?;
    let evaluation = model::load_evaluation(arguments.eval.as_ref(), arguments.eval_limit, &graph)?;
    let images = images(context, arguments, &graph)?;
    let suggestion = suggest(context, arguments, &graph, &images, &widths)?;
    let report = Report {
        network: graph.name.clone(),
        bits: suggestion.widths.to_string(),
        target_bytes: arguments.target_size,
        model_bytes: suggestion.model_bytes,
        arena_bytes: suggestion.arena_bytes,
        divergence: suggestion.divergence,
        naive_top1: evaluation
            .map(|data| model::fake_quantized_accuracy(context.output, &suggestion.network, &data))
            .transpose()?
            .map(|accuracy| accuracy.top1),
        layers: layers(&suggestion, &widths),
    };
    if let Some(path) = &arguments.out {
        let settings = toml::Table::from_iter([("bits".to_owned(), report.bits.clone().into())]);
        fs_err::write(path, toml::to_string(&settings)?)?;
    }
    context.output.result(&report, || report.text())?;
    if arguments
        .target_ram
        .is_some_and(|room| u64::from(report.arena_bytes) > room)
    {
        context.output.say(format!(
            "An inference needs {} bytes of arena, more than --target-ram: other widths do not \
             change that; smaller images or a narrower network do",
            grouped(report.arena_bytes.into())
        ));
        return Ok(Outcome::No);
    }
    Ok(Outcome::Done)
}

fn suggest(
    context: &Context,
    arguments: &Arguments,
    graph: &Graph,
    images: &Tensor,
    widths: &[u8],
) -> Result<Suggestion, Failure> {
    let pixels = graph.input_shape.iter().product();
    let target = Target {
        bytes: arguments.target_size.unwrap_or(u64::MAX),
        widths,
        activations: arguments.activations,
        golden: &vec![vec![0; pixels]; usize::from(GOLDEN_IMAGES)],
    };
    let measurements = sensitivity::layer_count(graph) * widths.len();
    let bar = context.output.bar(measurements as u64, "measuring");
    let found = suggest::suggest(graph, images, &target, &mut || bar.inc(1));
    bar.finish_and_clear();
    found.map_err(|error| match error {
        Error::TooSmall { .. } => Failure::from(error)
            .hint("give a larger --target-size or a smaller --least")
            .with_outcome(Outcome::No),
        error => error.into(),
    })
}

/// The user's images, or generated ones, in one batch.
fn images(context: &Context, arguments: &Arguments, graph: &Graph) -> Result<Tensor, Failure> {
    let count = usize::from(arguments.images);
    if let Some(source) = &arguments.data {
        let data = model::load_images(source, Some(count))?;
        let images = DatasetImages {
            data: &data,
            normalization: &graph.normalization,
            batch: data.len(),
        };
        return Ok(images.batch(0)?.images);
    }
    model::require_statistics(graph)?;
    let bits = Bits {
        weights: arguments.most,
        activations: arguments.activations,
    };
    let mut synthesis = Preset::default().config_for(Method::Zeroq, bits).synthesis;
    (synthesis.images, synthesis.batch) = (count, count);
    let bar = context.output.bar(synthesis.total_steps() as u64, "images");
    let mut progress = |step: lowbit_host::dfq::synthesis::Step| {
        bar.set_position(step.done as u64);
        bar.set_message(format!("loss {:.3}", step.loss));
    };
    let stop = &context.stop;
    let images = direct::synthesise(graph, &synthesis, arguments.seed, stop, &mut progress);
    bar.finish_and_clear();
    Ok(images?.batch(0)?.images)
}

fn layers(suggestion: &Suggestion, widths: &[u8]) -> Vec<Layer> {
    let layers = suggestion.layers.iter();
    let layers = layers.map(|(layer, chosen)| Layer {
        name: layer.name.clone(),
        weights: layer.weights.iter().product(),
        bits: widths[*chosen],
        divergences: (widths.iter().zip(&layer.divergences))
            .map(|(&bits, &divergence)| Divergence { bits, divergence })
            .collect(),
    });
    layers.collect()
}

impl Report {
    fn text(&self) -> String {
        let tried = self.layers.first().map(|layer| layer.divergences.iter());
        let widths = tried.into_iter().flatten();
        let widths = widths.map(|tried| format!("w{}", tried.bits));
        let header: Vec<String> = ["layer", "weights", "bits"]
            .map(str::to_owned)
            .into_iter()
            .chain(widths)
            .collect();
        let rows = self.layers.iter().map(|layer| {
            let divergences = layer.divergences.iter();
            let fixed = [
                layer.name.clone(),
                grouped(layer.weights as u64),
                layer.bits.to_string(),
            ];
            let measured = divergences.map(|found| format!("{:.2}", 1e3 * found.divergence));
            fixed.into_iter().chain(measured).collect::<Vec<_>>()
        });
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let mut facts = vec![
            (
                "size",
                match self.target_bytes {
                    Some(target) => {
                        format!("{} of {} bytes", grouped(self.model_bytes), grouped(target))
                    }
                    None => format!("{} bytes", grouped(self.model_bytes)),
                },
            ),
            (
                "arena",
                format!("{} bytes", grouped(self.arena_bytes.into())),
            ),
            (
                "divergence",
                format!(
                    "{:.1} thousandths of a nat, all layers and activations quantized",
                    1e3 * self.divergence
                ),
            ),
        ];
        if let Some(top1) = self.naive_top1 {
            facts.push(("top-1", format!("{top1:.2} %, nothing trained")));
        }
        facts.push(("--bits", self.bits.clone()));
        format!(
            "{}\n{}",
            columns(&header, &rows.collect::<Vec<_>>()),
            table(&facts)
        )
    }
}
