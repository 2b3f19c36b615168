//! `lowbit inspect`.

use std::path::{Path, PathBuf};

use clap::Args;
use lowbit_host::keys::PublicKey;
use lowbit_host::report::write_memory;
use lowbit_host::summary::{self, Content, Layer, MemoryPlan};
use lowbit_runtime::calibration::{Passes, Plan, PlanLayer};
use lowbit_runtime::format::{self, Model};
use serde::Serialize;

use super::Context;
use super::failure::{Failure, Outcome};
use super::model;
use super::output::{columns, grouped, table};

const EXAMPLES: &str = "\
Examples:
  lowbit inspect model.lowbit
  lowbit inspect model.lowbit --plot memory.svg
  lowbit inspect model.lowbit --key release.pub
  lowbit inspect model.lowbit --json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A packed file
    model: PathBuf,
    /// Draw which bytes of the arena hold what, operation by operation
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Public key that must have signed the file
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    name: String,
    identity: String,
    version: u32,
    signature: Signature,
    input: [u16; 3],
    classes: u16,
    macs: u64,
    model_bytes: usize,
    arena_bytes: u32,
    golden_images: u16,
    /// What calibration needs, if the model has it.
    calibration: Option<Calibration>,
    layers: Vec<Layer>,
    memory: MemoryPlan,
}

/// What is known about a file's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Signature {
    /// There is none.
    None,
    /// There is one; nobody has named a key.
    Unverified,
    /// It is one of the key.
    Valid,
    /// It is none of the key.
    Invalid,
}

impl Signature {
    fn of(packed: &[u8], key: Option<&Path>) -> Result<Self, Failure> {
        if format::signed(packed)?.is_none() {
            return Ok(Self::None);
        }
        let Some(key) = key else {
            return Ok(Self::Unverified);
        };
        Ok(match PublicKey::read(key)?.has_signed(packed)? {
            true => Self::Valid,
            false => Self::Invalid,
        })
    }

    fn text(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unverified => "Ed25519, not verified: name the public key with --key",
            Self::Valid => "Ed25519, valid",
            Self::Invalid => "Ed25519, NOT of this key, or the file has changed since",
        }
    }
}

/// What a model can be calibrated by.
#[derive(Debug, Serialize)]
struct Calibration {
    /// Layers of the fast plan.
    fast_layers: Vec<String>,
    /// All layers that the file has statistics of.
    layers: usize,
    /// CRC-32 of plan and statistics.
    checksum: u32,
    /// Bytes of plan and statistics in the file.
    bytes: u32,
    /// Bytes of the payload of a record by the fast plan.
    fast_record_bytes: usize,
}

fn calibration(model: &Model<'_>) -> Option<Calibration> {
    let plan = Plan::of(model)?;
    let name = |layer: PlanLayer<'_>| {
        let operation = model.operations().nth(layer.operation.into());
        operation.map_or(String::new(), |operation| operation.name.to_owned())
    };
    let blobs = model.header().calibration;
    Some(Calibration {
        fast_layers: plan.passes(Passes::Fast).map(name).collect(),
        layers: plan.layer_count(),
        checksum: plan.checksum(),
        bytes: blobs.plan.length + blobs.statistics.length,
        fast_record_bytes: plan.payload_bytes(Passes::Fast),
    })
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Outcome, Failure> {
    let packed = model::read_packed(&arguments.model)?;
    let model = Model::new_checked(&packed)?;
    let layers = summary::layers(&model);
    let header = model.header();
    let report = Report {
        name: header.name.to_owned(),
        identity: model::identity(&packed)?,
        version: model.version(),
        signature: Signature::of(&packed, arguments.key.as_deref())?,
        input: header.input,
        classes: header.classes,
        macs: layers.iter().map(|layer| layer.macs).sum(),
        model_bytes: packed.len(),
        arena_bytes: header.arena_bytes,
        golden_images: header.golden.images,
        calibration: calibration(&model),
        layers,
        memory: summary::memory(&model),
    };
    if let Some(path) = &arguments.plot {
        write_memory(path, &report.memory)?;
    }
    context.output.result(&report, || text(&report))?;
    let demanded = arguments.key.is_some();
    Ok(match report.signature {
        Signature::None | Signature::Invalid if demanded => Outcome::No,
        _ => Outcome::Done,
    })
}

fn text(report: &Report) -> String {
    let head = table(&[
        ("network", report.name.clone()),
        ("identity", report.identity.clone()),
        ("version", report.version.to_string()),
        ("signature", report.signature.text().to_owned()),
        ("input", size(report.input)),
        ("classes", report.classes.to_string()),
        ("MACs", grouped(report.macs)),
        (
            "file",
            format!("{} bytes", grouped(report.model_bytes as u64)),
        ),
        (
            "arena",
            format!("{} bytes", grouped(report.arena_bytes.into())),
        ),
        ("peak", peak(&report.memory)),
        ("calibration", calibration_text(report.calibration.as_ref())),
    ]);
    let bits = |bits: Option<u8>| bits.map_or_else(|| "-".to_owned(), |bits| bits.to_string());
    let rows = report.layers.iter().map(|layer| {
        vec![
            layer.name.clone(),
            layer.op.clone(),
            size(layer.output),
            bits(layer.weight_bits),
            bits(layer.activation_bits),
            grouped(layer.macs),
            grouped(layer.weight_bytes),
            grouped(layer.output_bytes),
            grouped(layer.arena_offset.into()),
            grouped(layer.scratch_bytes.into()),
        ]
    });
    let header = [
        "layer",
        "op",
        "output",
        "w bits",
        "a bits",
        "MACs",
        "weight B",
        "output B",
        "at",
        "scratch B",
    ];
    format!("{head}\n{}", columns(&header, &rows.collect::<Vec<_>>()))
}

fn calibration_text(calibration: Option<&Calibration>) -> String {
    let Some(found) = calibration else {
        return "not possible: packed without statistics".to_owned();
    };
    format!(
        "{} of {} layers fast ({}), {} bytes, plan {:#010x}",
        found.fast_layers.len(),
        found.layers,
        found.fast_layers.join(", "),
        grouped(found.bytes.into()),
        found.checksum
    )
}

/// What needs most memory at once, and what that consists of.
fn peak(memory: &MemoryPlan) -> String {
    let parts = memory.peak_blocks().into_iter().map(|block| {
        let bytes = grouped(block.bytes);
        match block.content {
            Content::Scratch => format!("{bytes} scratch"),
            Content::Pixels => format!("{bytes} pixels"),
            Content::Tensor => format!("{bytes} `{}`", block.layer),
        }
    });
    format!(
        "{} bytes in `{}`: {}",
        grouped(memory.peak_bytes),
        memory.peak_layer,
        parts.collect::<Vec<_>>().join(", ")
    )
}

fn size([height, width, channels]: [u16; 3]) -> String {
    format!("{height}x{width}x{channels}")
}
