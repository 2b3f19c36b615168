//! `lowbit demo`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use lowbit_host::board::transport::{BoardProcess, TransportError};
use lowbit_host::board::{self, Client, Registry, Verdict};
use lowbit_host::data::{Dataset, Source};
use lowbit_host::demo::float_training::{self, Settings};
use lowbit_host::dfq::config::{Bits, Config, Preset};
use lowbit_host::dfq::files::KEPT_CHECKPOINTS;
use lowbit_host::graph::Graph;
use lowbit_host::integer::IntegerNetwork;
use lowbit_host::lower;
use lowbit_host::report::{Grid, write_grid};
use lowbit_host::zoo::{self, RandomParameters};
use serde::Serialize;

use super::failure::{Failure, Outcome};
use super::link::FirmwareArguments;
use super::output::{columns, grouped, table};
use super::training::{self, Plan, Trained};
use super::{Context, flash, link, pack, verify};

const EXAMPLES: &str = "\
Examples:
  lowbit demo
  lowbit demo --out /tmp/demo --images 20 --json

What it does: draws ten thousand coloured shapes, trains a small residual network on them (kept for
the next time), quantizes it to 3 bits without looking at the shapes again, packs it, writes it to
an emulated Cortex-M4 and compares every result with this computer.";

/// The network that the demo trains and quantizes.
const NETWORK: &str = "resnet8";
const BOARD: &str = "mps2-an386";
const FLOAT_TRAINING: Settings = Settings {
    epochs: 12,
    batch: 32,
    learning_rate: 0.05,
    weight_decay: 5e-4,
    seed: 1,
};
/// Real and generated images in the picture, each.
const PICTURED: usize = 50;
const PICTURE_COLUMNS: usize = 10;
const GOLDEN_IMAGES: usize = 2;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Directory for everything that the demo writes
    #[arg(long, value_name = "DIR", default_value = "lowbit-demo")]
    out: PathBuf,
    /// Bits of weights and activations
    #[arg(long, value_name = "wNaN", default_value = "w3a3")]
    bits: Bits,
    /// Images to run on the board
    #[arg(long, value_name = "N", default_value_t = 100)]
    images: usize,
    /// Seed of the quantized network's training
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Train the float network anew instead of using the one of an earlier demo
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    firmware: FirmwareArguments,
}

/// The closing table in figures.
#[derive(Debug, Serialize)]
struct Report {
    bits: String,
    float_top1: Option<f64>,
    naive_top1: Option<f64>,
    /// Of the host's integer network on all test images.
    quantized_top1: f64,
    test_images: usize,
    float32_bytes: usize,
    seconds: f64,
    out: String,
    #[serde(flatten)]
    verdict: VerdictOnBoard,
}

/// The verdict without its accuracy on the host, which the report has for all test images.
#[derive(Debug, Serialize)]
struct VerdictOnBoard {
    board: String,
    core: String,
    images: usize,
    agreement: f64,
    board_top1: f64,
    host_top1_of_board_images: f64,
    instructions_per_inference: Option<f64>,
    model_bytes: usize,
    arena_bytes: u32,
    stack_bytes: Option<u32>,
}

impl From<&Verdict> for VerdictOnBoard {
    fn from(verdict: &Verdict) -> Self {
        Self {
            board: verdict.board.clone(),
            core: verdict.core.clone(),
            images: verdict.images,
            agreement: verdict.agreement,
            board_top1: verdict.board_top1,
            host_top1_of_board_images: verdict.quantized_top1,
            instructions_per_inference: verdict.instructions_per_inference,
            model_bytes: verdict.model_bytes,
            arena_bytes: verdict.arena_bytes,
            stack_bytes: verdict.stack_bytes,
        }
    }
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let start = Instant::now();
    let output = context.output;
    fs_err::create_dir_all(&arguments.out)?;
    let test = Source::Shapes.load()?;

    output.say("1/5 A float network for the built-in shapes");
    let teacher = float_network(context, arguments.fresh)?;
    output.say(format!(
        "2/5 AdaDFQ at {}: a quantized network, trained without the shapes",
        arguments.bits
    ));
    let run = new_run_directory(&arguments.out)?;
    let preset = Preset::Shapes.config();
    let config = Config {
        bits: arguments.bits.into(),
        seed: arguments.seed,
        ..preset
    };
    let plan = Plan {
        teacher: &teacher,
        config: &config,
        images: None,
        evaluation: Some(&test),
        keep: KEPT_CHECKPOINTS,
    };
    let trained = training::quantize(context, &plan, &run)?;
    let (Some(student), false) = (&trained.student, trained.interrupted) else {
        return Ok(Outcome::Interrupted);
    };
    draw(&arguments.out, &test, &trained)?;

    output.say("3/5 Packing");
    let path = arguments.out.join("model.lowbit");
    let golden = trained
        .samples
        .iter()
        .take(GOLDEN_IMAGES)
        .map(|(_, pixels)| pixels.clone());
    let golden = golden.collect::<Vec<_>>();
    let packing = pack::Packing {
        options: &lower::Options::default(),
        keep: pack::Keep::None,
        recalibrate: None,
        version: 0,
        key: None,
    };
    let packed = pack::pack_network(student, &golden, &packing, &run, &path)?;
    let bytes = fs_err::read(&path)?;
    let integers = IntegerNetwork::new(&bytes)?.evaluate(&test, None)?;

    output.say(format!(
        "4/5 Writing {} bytes to {BOARD}",
        grouped(bytes.len() as u64)
    ));
    let mut client = connect(context, arguments)?;
    flash::write(output, &mut client, &bytes)?;
    output.say(format!(
        "5/5 Comparing {} images with the board, layer by layer",
        arguments.images
    ));
    let images = test.clone().take(arguments.images);
    let options = board::Options { layers: true };
    let verdict = verify::compare(output, &mut client, &bytes, &images, options)?;

    let report = Report {
        bits: arguments.bits.to_string(),
        float_top1: trained.report.float_top1,
        naive_top1: trained.report.naive_top1,
        quantized_top1: integers.top1(),
        test_images: test.len(),
        float32_bytes: packed.float32_bytes,
        seconds: start.elapsed().as_secs_f64(),
        out: arguments.out.display().to_string(),
        verdict: VerdictOnBoard::from(&verdict),
    };
    output.result(&report, || text(&report, &verdict))?;
    Ok(if verdict.is_equal() {
        Outcome::Done
    } else {
        Outcome::No
    })
}

/// The network of an earlier demo, or a new one.
fn float_network(context: &Context, fresh: bool) -> Result<Graph, Failure> {
    let cache = cache_path()?;
    if let (Some(path), false) = (cache.as_ref().filter(|path| path.exists()), fresh) {
        match Graph::load(path) {
            Ok(graph) => {
                context
                    .output
                    .say(format!("Trained before: `{}`", path.display()));
                return Ok(graph);
            }
            Err(error) => context.output.say(format!("{error}; training anew")),
        }
    }
    let train = Source::ShapesTrain.load()?;
    let mut parameters = RandomParameters::new(FLOAT_TRAINING.seed);
    let normalization = "0.5,0.5,0.5/0.25,0.25,0.25".parse()?;
    let graph = zoo::network(NETWORK)?.build(&mut parameters, train.classes, normalization)?;
    let steps = FLOAT_TRAINING.epochs * (train.len() / FLOAT_TRAINING.batch);
    let bar = context.output.bar(steps as u64, "float");
    let trained = float_training::train(graph, &train, &FLOAT_TRAINING, &context.stop, |step| {
        bar.set_position(step.done as u64);
        bar.set_message(format!("loss {:.3}", step.loss));
        if (step.done * FLOAT_TRAINING.epochs).is_multiple_of(steps) {
            let epoch = step.done * FLOAT_TRAINING.epochs / steps;
            let line = format!(
                "Epoch {epoch}/{}: loss {:.3}",
                FLOAT_TRAINING.epochs, step.loss
            );
            bar.suspend(|| context.output.say(line));
        }
    });
    bar.finish_and_clear();
    let graph = trained.map_err(|error| match error {
        float_training::Error::Interrupted => {
            Failure::from(error).with_outcome(Outcome::Interrupted)
        }
        error => Failure::from(error),
    })?;
    if let Some(path) = cache {
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        graph.save(&path)?;
    }
    Ok(graph)
}

/// Where the float network is kept: one file per version and setting.
fn cache_path() -> Result<Option<PathBuf>, Failure> {
    let settings = serde_json::to_vec(&FLOAT_TRAINING)?;
    let key = lowbit_runtime::format::CHECKSUM.checksum(&settings);
    let name = format!("demo-{}-{key:08x}.safetensors", env!("CARGO_PKG_VERSION"));
    Ok(directories::ProjectDirs::from("", "", "lowbit").map(|user| user.cache_dir().join(name)))
}

/// An empty place for the run; the one of an earlier demo is replaced.
fn new_run_directory(out: &Path) -> Result<PathBuf, Failure> {
    let run = out.join("run");
    if run.join("config.toml").exists() {
        fs_err::remove_dir_all(&run)?;
    }
    Ok(run)
}

fn draw(out: &Path, test: &Dataset, trained: &Trained) -> Result<(), Failure> {
    let real = (0..PICTURED).map(|index| test.image(index)).collect();
    let mut generated = trained.samples.iter().take(PICTURED).collect::<Vec<_>>();
    generated.sort_by_key(|(label, _)| *label);
    let generated = generated
        .into_iter()
        .map(|(_, pixels)| pixels.as_slice())
        .collect();
    let grid = Grid {
        shape: test.shape,
        columns: PICTURE_COLUMNS,
        blocks: vec![real, generated],
    };
    write_grid(&out.join("samples.png"), &grid)?;
    fs_err::copy(out.join("run/curves.svg"), out.join("curves.svg"))?;
    Ok(())
}

/// The emulated board, or without the emulator the same firmware service in this process.
fn connect(context: &Context, arguments: &Arguments) -> Result<Client, Failure> {
    let registry = Registry::embedded()?;
    let spec = registry.find(BOARD)?;
    let firmware = arguments.firmware.find(spec)?;
    match BoardProcess::start(spec, &firmware, &arguments.out.join("boards")) {
        Ok(process) => link::greet(context, Box::new(process)),
        Err(error @ TransportError::NoEmulator { .. }) => {
            context.output.say(format!(
                "{error}\nUntil then the service runs in this process"
            ));
            link::connect_in_process(context, spec)
        }
        Err(error) => Err(error.into()),
    }
}

fn text(report: &Report, verdict: &Verdict) -> String {
    let percent =
        |top1: Option<f64>| top1.map_or_else(|| "-".to_owned(), |top1| format!("{top1:.2} %"));
    let all = report.test_images.to_string();
    let float32 = grouped(report.float32_bytes as u64);
    let packed = grouped(report.verdict.model_bytes as u64);
    let row = |name: &str, top1, images: &str, bytes: &str| {
        vec![
            name.to_owned(),
            percent(top1),
            images.to_owned(),
            bytes.to_owned(),
        ]
    };
    let (board_images, bits) = (report.verdict.images.to_string(), &report.bits);
    let quantized = Some(report.quantized_top1);
    let rows = [
        row("float32", report.float_top1, &all, &float32),
        row(&format!("naive {bits}"), report.naive_top1, &all, "-"),
        row(
            &format!("AdaDFQ {bits}, integers on this computer"),
            quantized,
            &all,
            &packed,
        ),
        row(
            "  the same on the board's images",
            Some(verdict.quantized_top1),
            &board_images,
            &packed,
        ),
        row(
            &format!("  on the board, {}", verdict.board),
            Some(verdict.board_top1),
            &board_images,
            &packed,
        ),
    ];
    let ratio = report.float32_bytes as f64 / report.verdict.model_bytes as f64;
    let mut facts = vec![
        ("agreement", verify::agreement(verdict)),
        (
            "size",
            format!("{packed} bytes, {ratio:.1} times smaller than float32"),
        ),
        (
            "arena",
            format!("{} bytes", grouped(verdict.arena_bytes.into())),
        ),
    ];
    facts.extend(
        verdict
            .stack_bytes
            .map(|bytes| ("stack", format!("{} bytes", grouped(bytes.into())))),
    );
    facts.extend(verify::effort(verdict).map(|effort| ("per inference", effort)));
    facts.extend(
        verdict
            .first_difference
            .as_ref()
            .map(|first| ("first difference", first.to_string())),
    );
    facts.push((
        "pictures",
        format!(
            "{0}/samples.png (real, generated), {0}/curves.svg",
            report.out
        ),
    ));
    facts.push(("time", format!("{:.0} s", report.seconds)));
    format!(
        "{}\n{}",
        columns(&["shapes", "top-1", "images", "bytes"], &rows),
        table(&facts)
    )
}
