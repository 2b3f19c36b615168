//! `lowbit report`, and the page that every run ends with.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use lowbit_host::dfq::{Config, RunDirectory};
use lowbit_host::graph::{Graph, QuantizedGraph};
use lowbit_host::report::{
    Figure, LayerWeights, Section, activation_ranges, layer_weights, write_page,
};
use serde::Serialize;
use serde_json::Value;

use super::failure::{Failure, Outcome};
use super::history::History;
use super::model::teacher_path;
use super::output::grouped;
use super::settings::flattened;
use super::{Cli, Context};

const EXAMPLES: &str = "\
Examples:
  lowbit report runs/w4a4
  lowbit report runs/w4a4 --out w4a4.html

The page needs no network and no other file. A run writes its own when it is done; this command
shows one that is still going on, or writes the page anew.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Directory of the run
    run: PathBuf,
    /// Where to write the page [default: report.html in that directory]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Written {
    report: String,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let path = match &arguments.out {
        Some(path) => path.clone(),
        None => page_path(&arguments.run),
    };
    write(&arguments.run, &path)?;
    let report = path.display().to_string();
    context.output.result(
        &Written {
            report: report.clone(),
        },
        || report,
    )?;
    Ok(Outcome::Done)
}

/// Where a run keeps its page.
pub(crate) fn page_path(run: &Path) -> PathBuf {
    run.join("report.html")
}

/// Where a run keeps its result in figures.
pub(crate) fn result_path(run: &Path) -> PathBuf {
    run.join("result.json")
}

/// Writes the page of the run in `run` to `path`.
pub(crate) fn write(run: &Path, path: &Path) -> Result<(), Failure> {
    let (directory, config) = RunDirectory::open(run).map_err(|error| {
        Failure::from(error).hint("give the directory that `lowbit quantize --out` wrote")
    })?;
    let history = History::read(&directory.metrics_path())?;
    let result = result(run)?;
    let student = directory.student_path();
    let student = student
        .exists()
        .then(|| QuantizedGraph::load(&student))
        .transpose()?;
    let layers = match &student {
        Some(student) => layer_weights(&Graph::load(&teacher_path(run))?, student)?,
        None => Vec::new(),
    };
    let mut sections = vec![results(&result, &layers)];
    if history.iterations() > 0 {
        sections.push(curves(&history, &config));
        sections.push(entropies(&history, &config));
    }
    sections.extend(samples(run)?);
    if let Some(student) = &student {
        sections.push(weights(layers));
        sections.push(ranges(student));
    }
    sections.push(settings(&config)?);
    let title = format!("{} at {}", config.method.title(), config.bits);
    Ok(write_page(path, &title, &lead(&result), &sections)?)
}

/// The run's figures, `null` as long as it has none.
fn result(run: &Path) -> Result<Value, Failure> {
    let path = result_path(run);
    if !path.exists() {
        return Ok(Value::Null);
    }
    Ok(serde_json::from_slice(&fs_err::read(path)?)?)
}

fn percent(value: &Value) -> Option<String> {
    value.as_f64().map(|top1| format!("{top1:.2} %"))
}

fn lead(result: &Value) -> String {
    let network = result["network"]
        .as_str()
        .unwrap_or("This run is not finished");
    match (
        percent(&result["quantized_top1"]),
        percent(&result["float_top1"]),
    ) {
        (Some(quantized), Some(float)) => {
            format!("{network}: {quantized} after the last epoch, {float} in floating point")
        }
        _ => network.to_owned(),
    }
}

fn row(cells: [&str; 3]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn results(result: &Value, layers: &[LayerWeights]) -> Section {
    let images = &result["evaluated_images"];
    let of_all = format!("top-1 of {images} images that training never saw");
    let mut rows = Vec::new();
    let mut add = |name: &str, value: Option<String>, note: &str| {
        rows.extend(value.map(|value| row([name, &value, note])));
    };
    add("last epoch", percent(&result["quantized_top1"]), &of_all);
    let best = &result["best"];
    let note = format!(
        "after epoch {}, of the first {} images. Chosen by these very images: too good as an estimate",
        best["epochs"], best["images"]
    );
    add("best epoch", percent(&best["top1"]), &note);
    let naive = "after the warm-up: ranges from generated images, weights as they were";
    add("naive", percent(&result["naive_top1"]), naive);
    add(
        "float",
        percent(&result["float_top1"]),
        "the network that training started from",
    );
    let time = |key: &str, unit| result[key].as_f64().map(|time| format!("{time:.0} {unit}"));
    add("time", time("seconds", "s"), "of the last command");
    let iterations = result["iterations"].as_u64();
    add("iterations", iterations.map(grouped), "in all");
    add(
        "per iteration",
        time("milliseconds_per_iteration", "ms"),
        "evaluation left out",
    );
    let count = |bytes: fn(&LayerWeights) -> usize| -> Option<String> {
        let total: usize = layers.iter().map(bytes).sum();
        (total > 0).then(|| format!("{} bytes", grouped(total as u64)))
    };
    add(
        "weights, float",
        count(|layer| 4 * layer.float.len()),
        "32 bits each",
    );
    let packed = count(|layer| (layer.float.len() * usize::from(layer.bits)).div_ceil(8));
    add(
        "weights, quantized",
        packed,
        "codes only; `lowbit pack` adds integer parameters",
    );
    Section {
        title: "Result".to_owned(),
        note: "The last epoch comes first: it was not chosen by looking at the test images."
            .to_owned(),
        figures: vec![Figure::Table {
            header: Vec::new(),
            rows,
        }],
    }
}

fn curves(history: &History, config: &Config) -> Section {
    let panels = history.panels(config).into_iter();
    let more = history.more_panels(config);
    Section {
        title: "Training".to_owned(),
        note:
            "Long curves are means over neighbouring iterations. L_Q is -T² times the entropy of \
               the disagreement: the lower it is, the more Q agrees with the float network P."
                .to_owned(),
        figures: panels.chain(more).map(Figure::Curves).collect(),
    }
}

fn entropies(history: &History, config: &Config) -> Section {
    let (lower, upper) = (config.lambda_l, config.lambda_u);
    Section {
        title: "Adaptability of the samples".to_owned(),
        note: format!(
            "How the normalized entropy H' of the disagreement softmax(z_P - z_Q) was distributed in \
             every epoch; darker is more. The generator is pushed to stay between lambda_l = {lower} \
             (green: below it P and Q disagree too much to learn from) and lambda_u = {upper} \
             (orange: above it there is nothing left to learn). The least of every batch is 0 by \
             definition."
        ),
        figures: vec![Figure::Entropies(history.entropies(), [lower, upper])],
    }
}

/// The pictures that the run has made on its way, if any.
fn samples(run: &Path) -> Result<Option<Section>, Failure> {
    let folder = run.join("samples");
    if !folder.exists() {
        return Ok(None);
    }
    let mut paths = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|found| found == "png"));
    paths.sort();
    let picture = |path: PathBuf| -> Result<Figure, Failure> {
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or("");
        let caption = stem.replace("epoch-", "after epoch ");
        let png = fs_err::read(path)?;
        Ok(Figure::Pixels { caption, png })
    };
    let figures = paths
        .into_iter()
        .map(picture)
        .collect::<Result<Vec<_>, _>>()?;
    Ok((!figures.is_empty()).then(|| Section {
        title: "Generated samples".to_owned(),
        note: "A column per class, from 0; the same noise at every epoch. They need not look like \
               anything: they only have to be what the networks respond to."
            .to_owned(),
        figures,
    }))
}

fn weights(layers: Vec<LayerWeights>) -> Section {
    Section {
        title: "Weights".to_owned(),
        note: "Grey: the float network's weights. Blue: the trained weights as their codes have \
               them, with a range of its own for every output channel. Both are scaled to the same \
               height."
            .to_owned(),
        figures: layers.into_iter().map(Figure::Weights).collect(),
    }
}

fn ranges(student: &QuantizedGraph) -> Section {
    let rows = activation_ranges(student).into_iter().map(|(name, range)| {
        vec![
            name,
            range.bits.to_string(),
            format!("{:.4}", range.min),
            format!("{:.4}", range.max),
        ]
    });
    let header = ["behind", "bits", "from", "to"].map(str::to_owned).to_vec();
    Section {
        title: "Activation ranges".to_owned(),
        note: "What the lowest and the highest code stand for; values outside are clipped."
            .to_owned(),
        figures: vec![Figure::Table {
            header,
            rows: rows.collect(),
        }],
    }
}

fn settings(config: &Config) -> Result<Section, Failure> {
    let mut cli = Cli::command();
    cli.build();
    let flags = cli.find_subcommand("settings");
    let meaning = |key: &str| {
        let id = key.replace('.', "_");
        let flag = flags?.get_arguments().find(|flag| flag.get_id() == &id)?;
        Some(flag.get_help()?.to_string())
    };
    let rows = flattened(&toml::Table::try_from(config)?).into_iter();
    let rows = rows.map(|(key, value)| {
        let meaning = meaning(&key).unwrap_or_default();
        vec![key, value, meaning]
    });
    Ok(Section {
        title: "Settings".to_owned(),
        note: "The run's config.toml; `lowbit quantize --config` takes it.".to_owned(),
        figures: vec![Figure::Table {
            header: ["key", "value", "meaning"].map(str::to_owned).to_vec(),
            rows: rows.collect(),
        }],
    })
}
