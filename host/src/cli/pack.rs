//! `lowbit pack`.

use std::path::{Path, PathBuf};

use clap::Args;
use lowbit_host::calibration::{Recalibration, recalibrated};
use lowbit_host::data::Dataset;
use lowbit_host::dfq::files::Archive;
use lowbit_host::graph::{Graph, QuantizedGraph};
use lowbit_host::keys::SecretKey;
use lowbit_host::{lower, nn, pack};
use lowbit_runtime::format::Model;
use serde::Serialize;

use super::Context;
use super::failure::{Failure, Outcome};
use super::model::{self, Origin};
use super::output::{grouped, table};

const EXAMPLES: &str = "\
Examples:
  lowbit pack runs/w4a4 --out model.lowbit
  lowbit pack runs/w4a4 --out model.lowbit --golden 4 --json
  lowbit pack runs/w4a4 --out model.lowbit --calibration exact
  lowbit pack runs/w3a3 --out model.lowbit --recalibrate
  lowbit pack runs/w4a4 --out model.lowbit --sign release.key --model-version 7";

/// Generated images in a packed file, unless the user wants another number.
pub(crate) const GOLDEN_IMAGES: u16 = 2;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Directory that `lowbit quantize` wrote
    run: PathBuf,
    /// The packed file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Generated images to put into the file with their results, for a board to check itself
    #[arg(long, value_name = "N", default_value_t = GOLDEN_IMAGES, value_parser = clap::value_parser!(u16).range(0..=64))]
    golden: u16,
    /// Bits of the table that turns pixels into integers
    #[arg(long, value_name = "BITS", default_value_t = 8, value_parser = clap::value_parser!(u8).range(4..=12))]
    input_bits: u8,
    /// Layers that a board can calibrate: none, the few that bring most (fast), or all (exact). More
    /// layers make a larger file
    #[arg(long, value_name = "PLAN", default_value_t = Keep::Fast, value_enum)]
    calibration: Keep,
    /// Calibrate the network on the run's generated images first, if that makes it answer more like the
    /// float network
    #[arg(long)]
    recalibrate: bool,
    /// Secret key to sign the file with, for boards that take no other, see `lowbit keys`
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// Version of the model: some boards do not go back to a lower one
    #[arg(long, value_name = "N", default_value_t = 0)]
    model_version: u32,
}

/// How a network is packed.
pub(crate) struct Packing<'a> {
    pub(crate) options: &'a lower::Options,
    pub(crate) keep: Keep,
    /// Calibrates it on these first, if that helps.
    pub(crate) recalibrate: Option<&'a Generated>,
    /// Version of the model.
    pub(crate) version: u32,
    /// Signs it.
    pub(crate) key: Option<&'a SecretKey>,
}

/// Which layers' statistics go into the packed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Keep {
    /// Calibration is not possible.
    None,
    /// Of the layers that bring most.
    Fast,
    /// Of all layers.
    Exact,
}

/// What was packed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    model: String,
    pub(crate) model_bytes: usize,
    pub(crate) float32_bytes: usize,
    pub(crate) arena_bytes: u32,
    identity: String,
    model_version: u32,
    signed: bool,
    golden_images: u16,
    /// Bytes of the file that only calibration needs.
    calibration_bytes: u32,
    /// What calibration on generated images brings, if it was asked for.
    recalibration: Option<RecalibrationReport>,
}

/// What calibration on generated images brings.
#[derive(Debug, Clone, Serialize)]
struct RecalibrationReport {
    /// Whether the packed file has the new parameters.
    accepted: bool,
    images: usize,
    prior: u32,
    /// Images that are taken for the same class as by the float network.
    agreeing_before: usize,
    agreeing_after: usize,
    /// From the float network's answers, in nats.
    divergence_before: f64,
    divergence_after: f64,
}

impl From<&Recalibration> for RecalibrationReport {
    fn from(found: &Recalibration) -> Self {
        Self {
            accepted: found.helps(),
            images: found.images,
            prior: found.prior,
            agreeing_before: found.before.agreeing,
            agreeing_after: found.after.agreeing,
            divergence_before: found.before.divergence,
            divergence_after: found.after.divergence,
        }
    }
}

impl std::fmt::Display for RecalibrationReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = match self.accepted {
            true => "taken",
            false => "not taken, as it does not help",
        };
        write!(
            f,
            "{verdict}: {} instead of {} of {} images as by the float network, divergence {:.3} \
             instead of {:.3}",
            self.agreeing_after,
            self.agreeing_before,
            self.images,
            self.divergence_after,
            self.divergence_before
        )
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ratio = self.float32_bytes as f64 / self.model_bytes as f64;
        let size = format!(
            "{} bytes, {ratio:.1} times smaller than float32",
            grouped(self.model_bytes as u64)
        );
        let mut rows = vec![
            ("model", self.model.clone()),
            ("size", size),
            (
                "arena",
                format!("{} bytes", grouped(self.arena_bytes.into())),
            ),
            (
                "calibration",
                format!("{} bytes of them", grouped(self.calibration_bytes.into())),
            ),
            ("identity", self.identity.clone()),
            ("version", version_text(self.model_version, self.signed)),
        ];
        let recalibration = self.recalibration.as_ref();
        rows.extend(recalibration.map(|found| ("recalibration", found.to_string())));
        f.write_str(&table(&rows))
    }
}

fn version_text(version: u32, signed: bool) -> String {
    format!("{version}{}", if signed { ", signed" } else { "" })
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let key = arguments.sign.as_deref().map(SecretKey::read).transpose()?;
    let student = model::load_student(&arguments.run)?;
    let golden = generated_images(&arguments.run, usize::from(arguments.golden))?;
    let generated = arguments
        .recalibrate
        .then(|| Generated::load(&arguments.run));
    let generated = generated.transpose()?;
    let options = lower::Options {
        input_bits: arguments.input_bits,
        calibration: arguments.calibration != Keep::None,
        ..lower::Options::default()
    };
    let packing = Packing {
        options: &options,
        keep: arguments.calibration,
        recalibrate: generated.as_ref(),
        version: arguments.model_version,
        key: key.as_ref(),
    };
    let report = pack_network(&student, &golden, &packing, &arguments.run, &arguments.out)?;
    context.output.result(&report, || report.to_string())?;
    Ok(Outcome::Done)
}

/// Lowers and packs `student` into `out`, and notes which run it comes from.
pub(crate) fn pack_network(
    student: &QuantizedGraph,
    golden: &[Vec<u8>],
    packing: &Packing<'_>,
    run: &Path,
    out: &Path,
) -> Result<Report, Failure> {
    let mut program = lower::lower(student, packing.options)?;
    let recalibration = match packing.recalibrate {
        Some(generated) => Some(generated.recalibrate(student, packing.options, &mut program)?),
        None => None,
    };
    match packing.keep {
        Keep::None => program.calibration.clear(),
        Keep::Fast => program.keep_fast_layers(),
        Keep::Exact => program.choose_fast_layers(),
    }
    let mut packed = pack::pack(&program, golden)?;
    pack::release(&mut packed, packing.version, packing.key)?;
    pack::write(out, &packed)?;
    Origin::write(out, &packed, run)?;
    let parameters = student
        .graph
        .parameters()
        .iter()
        .map(|(_, tensor)| tensor.elem_count())
        .sum::<usize>();
    let header = *Model::new_checked(&packed)?.header();
    let calibration = header.calibration;
    Ok(Report {
        model: out.display().to_string(),
        model_bytes: packed.len(),
        float32_bytes: parameters * size_of::<f32>(),
        arena_bytes: header.arena_bytes,
        identity: model::identity(&packed)?,
        model_version: packing.version,
        signed: packing.key.is_some(),
        golden_images: golden.len() as u16,
        calibration_bytes: calibration.plan.length + calibration.statistics.length,
        recalibration,
    })
}

/// Generated images and what the float network makes of them.
pub(crate) struct Generated {
    images: Vec<Vec<u8>>,
    /// One row of each image.
    logits: Vec<f32>,
}

impl Generated {
    /// All that a run kept.
    fn load(run: &Path) -> Result<Self, Failure> {
        let images = generated_images(run, usize::MAX)?;
        let teacher = Graph::load(&model::teacher_path(run))?;
        let [channels, height, width] = teacher.input_shape;
        let data = Dataset {
            name: "generated".to_owned(),
            shape: [height, width, channels],
            classes: teacher.classes,
            pixels: images.concat(),
            labels: vec![0; images.len()],
        };
        let logits = nn::logits(&teacher, &data)?;
        Ok(Self { images, logits })
    }

    /// Gives `program`, which is `student` lowered by `options`, the parameters that the images lead
    /// to, if these help.
    fn recalibrate(
        &self,
        student: &QuantizedGraph,
        options: &lower::Options,
        program: &mut lower::Program,
    ) -> Result<RecalibrationReport, Failure> {
        let with_statistics = lower::Options {
            calibration: true,
            ..*options
        };
        let calibratable = lower::lower(student, &with_statistics)?;
        let images: Vec<&[u8]> = self.images.iter().map(Vec::as_slice).collect();
        let found = Recalibration::new(&calibratable, &images, &self.logits)?;
        if found.helps() {
            *program = recalibrated(&calibratable, &images)?;
        }
        Ok((&found).into())
    }
}

/// The first generated images of a run.
fn generated_images(run: &Path, count: usize) -> Result<Vec<Vec<u8>>, Failure> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let path = model::samples_path(run);
    let archive = Archive::read(&path)?;
    let pixels = archive.tensors.get("pixels").ok_or_else(|| {
        Failure::new(format!("`{}` has no tensor `pixels`", path.display()))
            .hint("run `lowbit quantize` again, or pack with `--golden 0`")
    })?;
    let count = count.min(pixels.dim(0)?);
    let image = |index: usize| Ok(pixels.get(index)?.flatten_all()?.to_vec1::<u8>()?);
    (0..count).map(image).collect()
}
