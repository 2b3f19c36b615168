//! `lowbit eval`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use lowbit_host::calibration::read_record;
use lowbit_host::data::{Dataset, Source};
use lowbit_host::graph::Graph;
use lowbit_host::integer::{Backend, Evaluation, IntegerNetwork};
use lowbit_host::pack;
use serde::Serialize;

use super::Context;
use super::backends::{AdapterArguments, explain};
use super::failure::{Failure, Outcome};
use super::model::{self, Accuracy, Origin, PixelArguments};
use super::output::{Output, table};

const EXAMPLES: &str = "\
Examples:
  lowbit eval model.lowbit --data cifar10:test_batch.bin
  lowbit eval model.lowbit --data shapes --limit 200 --min-top1 80
  lowbit eval model.lowbit --data cifar10:test_batch.bin --backend wgpu
  lowbit eval model.lowbit --record sensor.record --data npz:sensor.npz
  lowbit eval keywords.lowbit --data wav:recordings
  lowbit eval runs/w4a4 --float --data cifar10:test_batch.bin
  lowbit eval runs/w4a4 --fake-quant --data cifar10:test_batch.bin --json
  lowbit eval net.onnx --float --data cifar10:test_batch.bin \\
      --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225

A packed file is run with the board's own integer arithmetic. --float and --fake-quant evaluate the
float network and the trained network before lowering; they need the run that the file comes from.
With --float, a network of yours (.onnx, .safetensors) is evaluated as it is.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A packed file, the directory of a run, or with --float a network of yours
    model: PathBuf,
    /// Labelled images
    #[arg(long, value_name = "DATA")]
    data: Source,
    /// Use only the first N images
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Evaluate the float network that the run started from
    #[arg(long, conflicts_with = "fake_quant")]
    float: bool,
    /// Evaluate the trained network with fake quantization, in floating point
    #[arg(long)]
    fake_quant: bool,
    /// Name of the network, for a checkpoint that several networks have the tensors of
    #[arg(long, value_name = "NAME", requires = "float")]
    network: Option<String>,
    #[command(flatten)]
    pixels: PixelArguments,
    /// What computes a packed file: cpu, the processor's vector instructions on many images at
    /// once; wgpu, a GPU; or portable, the kernels that every board has. All give the same integers
    #[arg(long, default_value_t, conflicts_with_all = ["float", "fake_quant"])]
    backend: Backend,
    #[command(flatten)]
    adapter: AdapterArguments,
    /// Use the new parameters of a record that `lowbit calibrate` wrote
    #[arg(long, value_name = "FILE", conflicts_with_all = ["float", "fake_quant"])]
    record: Option<PathBuf>,
    /// Exit with 1 if the accuracy is below this many percent
    #[arg(long, value_name = "PERCENT")]
    min_top1: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Report {
    arithmetic: &'static str,
    #[serde(flatten)]
    accuracy: Accuracy,
    images: usize,
    images_per_second: f64,
    integers: Option<Integers>,
}

/// What only a packed file has.
#[derive(Debug, Serialize)]
struct Integers {
    backend: &'static str,
    device: String,
    /// CRC-32 of all logits, in hexadecimal digits.
    logits_crc32: String,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let data = model::load_images(&arguments.data, arguments.limit)?;
    let start = Instant::now();
    let mut packed = None;
    let (arithmetic, accuracy, seconds) = if model::is_float_network(&arguments.model) {
        let accuracy = imported(context.output, arguments, &data)?;
        ("float", accuracy, start.elapsed().as_secs_f64())
    } else if arguments.pixels.is_given() {
        return Err(Failure::new(format!(
            "`{}` knows its normalisation; leave out --mean, --std and --normalization",
            arguments.model.display()
        )));
    } else if arguments.float || arguments.fake_quant {
        let run = run_directory(&arguments.model)?;
        let (name, accuracy) = floating_point(context.output, &run, arguments.float, &data)?;
        (name, accuracy, start.elapsed().as_secs_f64())
    } else {
        let (evaluation, facts) = integers(context.output, arguments, &data)?;
        packed = Some(facts);
        let seconds = evaluation.duration.as_secs_f64();
        let accuracy = Accuracy::new(&evaluation.ranks, data.classes);
        ("integer", accuracy, seconds)
    };
    let images = data.len();
    let report = Report {
        arithmetic,
        accuracy,
        images,
        images_per_second: images as f64 / seconds,
        integers: packed,
    };
    context.output.result(&report, || text(&report))?;
    Ok(model::judge(
        context.output,
        Some(accuracy.top1),
        arguments.min_top1,
    ))
}

/// Accuracy of a network that no run made.
fn imported(output: Output, arguments: &Arguments, data: &Dataset) -> Result<Accuracy, Failure> {
    let path = &arguments.model;
    if !arguments.float {
        let message = format!("`{}` is a float network", path.display());
        return Err(Failure::new(message)
            .hint("add --float to evaluate it as it is, or quantize it with `lowbit quantize`"));
    }
    let graph = model::load_float(
        output,
        path,
        arguments.network.as_deref(),
        &arguments.pixels,
    )?;
    model::float_accuracy(output, &graph, data)
}

fn integers(
    output: Output,
    arguments: &Arguments,
    data: &Dataset,
) -> Result<(Evaluation, Integers), Failure> {
    let path = &arguments.model;
    if path.is_dir() {
        return Err(
            Failure::new(format!("`{}` is a run, not a packed file", path.display()))
                .hint("pack it with `lowbit pack`, or add --float or --fake-quant"),
        );
    }
    let mut packed = model::read_packed(path)?;
    if let Some(record) = &arguments.record {
        packed = calibrated(&packed, record)?;
    }
    let network = IntegerNetwork::new(&packed)?;
    let processor = arguments.adapter.open(output, arguments.backend)?;
    let bar = output.bar(data.len() as u64, "integers");
    let evaluation = network.evaluate_with(data, None, &processor, |done| bar.inc(done as u64));
    bar.finish_and_clear();
    let evaluation = evaluation.map_err(explain)?;
    let facts = Integers {
        backend: processor.backend().name(),
        device: processor.device(),
        logits_crc32: format!("{:08x}", evaluation.checksum()),
    };
    Ok((evaluation, facts))
}

/// The packed file with the parameters of a record as its own.
fn calibrated(packed: &[u8], record: &Path) -> Result<Vec<u8>, Failure> {
    let network = IntegerNetwork::new(packed)?;
    let bytes = fs_err::read(record)?;
    let (_, payload) = read_record(network.model(), &bytes).map_err(|error| {
        Failure::new(format!("`{}`: {error}", record.display()))
            .hint("calibrate the model again with `lowbit calibrate`")
    })?;
    Ok(pack::apply(network.model(), payload)?)
}

fn floating_point(
    output: Output,
    run: &Path,
    float: bool,
    data: &Dataset,
) -> Result<(&'static str, Accuracy), Failure> {
    if float {
        let teacher = Graph::load(&model::teacher_path(run))?;
        return Ok(("float", model::float_accuracy(output, &teacher, data)?));
    }
    let student = model::load_student(run)?;
    Ok((
        "fake-quant",
        model::fake_quantized_accuracy(output, &student, data)?,
    ))
}

/// The run itself, or the one that a packed file comes from.
fn run_directory(path: &Path) -> Result<PathBuf, Failure> {
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    let packed = model::read_packed(path)?;
    Origin::find(path, &packed)?.ok_or_else(|| {
        Failure::new(format!(
            "the run that `{}` comes from is not known",
            path.display()
        ))
        .hint("give the run's directory instead of the packed file")
    })
}

fn text(report: &Report) -> String {
    let mut rows = vec![
        ("arithmetic", report.arithmetic.to_owned()),
        (
            "top-1",
            format!("{:.2} % of {} images", report.accuracy.top1, report.images),
        ),
        ("speed", format!("{:.0} images/s", report.images_per_second)),
    ];
    if let Some(top5) = report.accuracy.top5 {
        rows.insert(2, ("top-5", format!("{top5:.2} %")));
    }
    if let Some(integers) = &report.integers {
        let backend = format!("{}: {}", integers.backend, integers.device);
        rows.push(("backend", backend));
        rows.push(("logits", format!("CRC-32 {}", integers.logits_crc32)));
    }
    table(&rows)
}
