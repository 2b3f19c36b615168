//! Networks, models and data sets as the commands name them.

use std::path::{Path, PathBuf};

use clap::Args;
use lowbit_host::accuracy;
use lowbit_host::data::{Dataset, Source};
use lowbit_host::dfq::config::Preset;
use lowbit_host::dfq::{FakeQuantized, RunDirectory};
use lowbit_host::graph::{Graph, Normalization, Op, QuantizedGraph};
use lowbit_host::import::{self, Imported};
use lowbit_host::nn;
use lowbit_runtime::format::Model;
use serde::{Deserialize, Serialize};

use super::failure::{Failure, Outcome};
use super::output::Output;

/// A float network in a file.
#[derive(Debug, Args)]
pub(crate) struct NetworkArguments {
    /// Name of the network, e.g. resnet20; `lowbit networks` lists them. Not needed for ONNX files,
    /// nor where only one network has such tensors
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// The float network with BatchNorm statistics: .onnx, .safetensors, .pth, .pt or .th, or
    /// hf://OWNER/REPOSITORY/FILE
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Number of classes; must be the checkpoint's
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    #[command(flatten)]
    pixels: PixelArguments,
}

/// How pixels become the network's input.
#[derive(Debug, Args)]
pub(crate) struct PixelArguments {
    /// How pixels become the network's input: cifar10, cifar100, imagenet, none, or
    /// MEAN,MEAN,MEAN/STD,STD,STD. By default the network's own, or that of the preset; checkpoints
    /// with parameter-free shortcuts were trained with ImageNet's figures, also on CIFAR-10
    #[arg(long, value_name = "FIGURES", conflicts_with_all = ["mean", "std"])]
    normalization: Option<Normalization>,
    /// Mean of each channel of the training data, for pixels from 0 to 1
    #[arg(long, value_name = "MEAN,...", value_delimiter = ',', requires = "std")]
    mean: Option<Vec<f64>>,
    /// Standard deviation of each channel of the training data, for pixels from 0 to 1
    #[arg(long, value_name = "STD,...", value_delimiter = ',', requires = "mean")]
    std: Option<Vec<f64>>,
}

impl PixelArguments {
    /// Whether any figures were given.
    pub(crate) fn is_given(&self) -> bool {
        self.normalization.is_some() || self.mean.is_some()
    }

    fn normalization(&self) -> Result<Option<Normalization>, Failure> {
        let (Some(mean), Some(std)) = (&self.mean, &self.std) else {
            return Ok(self.normalization.clone());
        };
        let given = Normalization {
            mean: mean.clone(),
            std: std.clone(),
        };
        if given.fits(mean.len()) {
            return Ok(Some(given));
        }
        Err(Failure::new(format!(
            "--mean {mean:?} and --std {std:?} do not belong together: as many positive standard \
             deviations as means expected, one for each channel"
        )))
    }
}

/// Imports the network and settles its normalisation.
pub(crate) fn load_network(
    output: Output,
    arguments: &NetworkArguments,
    preset: Preset,
) -> Result<Graph, Failure> {
    let NetworkArguments {
        network,
        weights,
        classes,
        pixels,
    } = arguments;
    let mut imported = open(output, weights, network.as_deref(), *classes, pixels)?;
    if !imported.normalized {
        let describes_itself = network.is_none() && has_extension(weights, "onnx");
        if describes_itself {
            return Err(missing_normalization(weights));
        }
        imported.graph.normalization = of_preset(output, &imported.graph, preset)?;
    }
    Ok(imported.graph)
}

/// Imports a network to be evaluated as it is.
pub(crate) fn load_float(
    output: Output,
    path: &Path,
    network: Option<&str>,
    pixels: &PixelArguments,
) -> Result<Graph, Failure> {
    let imported = open(output, path, network, None, pixels)?;
    if imported.normalized {
        Ok(imported.graph)
    } else {
        Err(missing_normalization(path))
    }
}

/// Whether a file holds a float network that can be imported, judged by its name.
pub(crate) fn is_float_network(path: &Path) -> bool {
    ["onnx", "safetensors", "pth", "pt", "th", "bin"]
        .iter()
        .any(|extension| has_extension(path, extension))
}

/// Refuses networks that data-free training can learn nothing from.
pub(crate) fn require_statistics(graph: &Graph) -> Result<(), Failure> {
    if graph.has_batch_norm() {
        return Ok(());
    }
    let message = format!(
        "`{}` has no BatchNorm layers: they were folded into the convolutions when it was exported. \
         Training without data needs their statistics, which are gone with them",
        graph.name
    );
    Err(Failure::new(message).hint(
        "export it again with BatchNorm kept, in PyTorch by\n  \
         torch.onnx.export(model.eval(), image, \"net.onnx\", dynamo=False,\n      \
         training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)\n\
         or give the checkpoint itself with `--network NAME --weights FILE`; without it, ranges can \
         be measured on images of yours: `--method ptq --data DATA`",
    ))
}

fn open(
    output: Output,
    path: &Path,
    network: Option<&str>,
    classes: Option<usize>,
    pixels: &PixelArguments,
) -> Result<Imported, Failure> {
    let path = import::hub::resolve(path)?;
    let imported = import::open(&path, network, classes, pixels.normalization()?)?;
    for note in &imported.notes {
        output.say(note);
    }
    Ok(imported)
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

fn missing_normalization(path: &Path) -> Failure {
    let message = format!(
        "`{}` does not say how pixels become the network's input",
        path.display()
    );
    Failure::new(message).hint(
        "give the mean and the standard deviation that it was trained with, for pixels from 0 to \
         1: `--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225`, or by name: `--normalization \
         imagenet`",
    )
}

/// What networks of the preset's data set are usually trained with.
fn of_preset(output: Output, graph: &Graph, preset: Preset) -> Result<Normalization, Failure> {
    let parameter_free = graph
        .nodes
        .iter()
        .any(|node| matches!(node.op, Op::SubsamplePad { .. }));
    let name = match preset {
        Preset::Cifar10 | Preset::Best if parameter_free => {
            output.say("Normalising with ImageNet's figures; --normalization changes that");
            "imagenet"
        }
        Preset::Best if graph.classes == 100 => "cifar100",
        preset => preset.normalization(),
    };
    Ok(name.parse()?)
}

/// Reads images that fit the network.
pub(crate) fn load_evaluation(
    source: Option<&Source>,
    limit: Option<usize>,
    network: &Graph,
) -> Result<Option<Dataset>, Failure> {
    let Some(source) = source else {
        return Ok(None);
    };
    let data = load_images(source, limit)?;
    if data.classes > network.classes {
        let message = format!(
            "`{source}` has labels of {} classes, the network tells {} apart",
            data.classes, network.classes
        );
        return Err(
            Failure::new(message).hint("give the network and the data set that belong together")
        );
    }
    Ok(Some(data))
}

/// Reads a data set, its first `limit` images only if that is given.
pub(crate) fn load_images(source: &Source, limit: Option<usize>) -> Result<Dataset, Failure> {
    let data = source.load_first(limit)?;
    if data.is_empty() {
        return Err(Failure::new(format!("`{source}`: no images to measure on")));
    }
    Ok(data)
}

/// Percent of images that a network is right about.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Accuracy {
    pub(crate) top1: f64,
    /// Of networks of more than five classes.
    pub(crate) top5: Option<f64>,
}

impl Accuracy {
    pub(crate) fn new(ranks: &[u16], classes: usize) -> Self {
        Self {
            top1: accuracy::top1(ranks),
            top5: accuracy::top5(ranks, classes),
        }
    }
}

/// Accuracy of the float network.
pub(crate) fn float_accuracy(
    output: Output,
    graph: &Graph,
    data: &Dataset,
) -> Result<Accuracy, Failure> {
    let bar = output.bar(data.len() as u64, "float");
    let ranks = nn::evaluate(graph, data, &mut (), |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    Ok(Accuracy::new(&ranks, graph.classes))
}

/// Accuracy of the trained network with fake-quantized weights and activations.
pub(crate) fn fake_quantized_accuracy(
    output: Output,
    network: &QuantizedGraph,
    data: &Dataset,
) -> Result<Accuracy, Failure> {
    let bar = output.bar(data.len() as u64, "fake-quant");
    let classes = network.graph.classes;
    let network = FakeQuantized::new(network)?;
    let ranks = network.evaluate(data, |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    Ok(Accuracy::new(&ranks, classes))
}

/// Whether an accuracy reaches what the user asked for.
pub(crate) fn judge(output: Output, top1: Option<f64>, least: Option<f64>) -> Outcome {
    match (top1, least) {
        (Some(top1), Some(least)) if top1 < least => {
            output.say(format!(
                "The accuracy of {top1:.2} % is below --min-top1 {least:.2} %"
            ));
            Outcome::No
        }
        _ => Outcome::Done,
    }
}

/// Reads a packed file whole and checks it.
pub(crate) fn read_packed(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = fs_err::read(path)?;
    if let Err(error) = Model::new_checked(&bytes) {
        let failure = Failure::new(format!("`{}`: {error}", path.display()));
        return Err(failure.hint("pack the run again with `lowbit pack RUN --out model.lowbit`"));
    }
    Ok(bytes)
}

/// The float network that a run started from.
pub(crate) fn teacher_path(run: &Path) -> PathBuf {
    run.join("teacher.safetensors")
}

/// Generated images of a run, for the golden section of the packed file.
pub(crate) fn samples_path(run: &Path) -> PathBuf {
    run.join("samples.safetensors")
}

/// The trained network of a finished run.
pub(crate) fn load_student(run: &Path) -> Result<QuantizedGraph, Failure> {
    find_student(run)?.ok_or_else(|| {
        let message = format!(
            "`{}` holds no trained network: the run is not finished",
            run.display()
        );
        Failure::new(message).hint("run `lowbit quantize` to its end")
    })
}

/// The trained network of a run, `None` if the run is not finished.
pub(crate) fn find_student(run: &Path) -> Result<Option<QuantizedGraph>, Failure> {
    let (directory, _) = RunDirectory::open(run).map_err(|error| {
        Failure::from(error).hint("give the directory that `lowbit quantize --out` wrote")
    })?;
    let path = directory.student_path();
    let student = path.exists().then(|| QuantizedGraph::load(&path));
    Ok(student.transpose()?)
}

/// A note beside a packed file that says which run it comes from, so that the float network can be
/// found again. The packed file itself carries nothing of the workstation.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Origin {
    /// SHA-256 of the packed file's content.
    identity: String,
    /// Directory of the run.
    run: PathBuf,
}

impl Origin {
    fn path(model: &Path) -> PathBuf {
        let mut name = model.as_os_str().to_owned();
        name.push(".origin.json");
        name.into()
    }

    pub(crate) fn write(model: &Path, packed: &[u8], run: &Path) -> Result<(), Failure> {
        let run = fs_err::canonicalize(run)?;
        let origin = Self {
            identity: identity(packed)?,
            run,
        };
        fs_err::write(Self::path(model), serde_json::to_vec_pretty(&origin)?)?;
        Ok(())
    }

    /// The run that `packed` comes from, `None` if that is not known any more.
    pub(crate) fn find(model: &Path, packed: &[u8]) -> Result<Option<PathBuf>, Failure> {
        let Ok(text) = fs_err::read(Self::path(model)) else {
            return Ok(None);
        };
        let origin: Self = serde_json::from_slice(&text).map_err(|error| {
            Failure::new(format!("`{}`: {error}", Self::path(model).display()))
                .hint("delete the file; it only serves to find the float network")
        })?;
        let same = origin.identity == identity(packed)? && origin.run.is_dir();
        Ok(same.then_some(origin.run))
    }
}

/// The identity of a packed file in hexadecimal digits.
pub(crate) fn identity(packed: &[u8]) -> Result<String, Failure> {
    let model = Model::new_checked(packed)?;
    Ok(hexadecimal(model.identity()))
}

/// Two digits per byte.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
