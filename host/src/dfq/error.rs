//! What can go wrong while a network is quantized without data.

use std::path::{Path, PathBuf};

use super::{Method, device::DeviceName};
use crate::{
    graph::{FileError, NodeId},
    nn,
};

/// Result of this module.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong while a network is quantized without data.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A width that no quantizer has.
    #[error("{0} bits asked for, quantizers have 2 to 8")]
    Bits(u8),
    /// A text that names no widths.
    #[error("bit widths `{0}` are not of the form `w4a4`, with 2 to 8 for each")]
    BitsText(String),
    /// A part of a list of widths that names no layer.
    #[error("`{0}` in the bit widths is not of the form `LAYER=w8a8`")]
    BitsOfLayer(String),
    /// A layer with two widths.
    #[error("layer `{0}` has bit widths twice")]
    LayerTwice(String),
    /// A name that no layer has.
    #[error("there is no layer `{name}` to give bit widths; the layers are first, last, {known}")]
    NoLayer {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A name that no preset has.
    #[error("there is no preset `{name}`, the presets are {known}")]
    Preset {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A name that no method has.
    #[error("there is no method `{name}`, the methods are {known}")]
    Method {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A name that no part of the generator's loss has.
    #[error("there is no part `{name}` to leave out, the parts are {known}")]
    Part {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A setting that the method has no use for.
    #[error("setting `{name}` has no place in the method `{method}`")]
    Unused {
        /// Its name in the configuration.
        name: &'static str,
        /// The method.
        method: Method,
    },
    /// A name that no choice of ranges has.
    #[error("there is no choice of ranges `{name}`, the choices are {known}")]
    RangeChoice {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A name that no estimate of statistics has.
    #[error("there is no estimate `{name}`, the estimates are {known}")]
    Estimate {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Ranges or statistics of no images.
    #[error("there are no images to take ranges from")]
    NoImages,
    /// A method that is no game between generator and student.
    #[error("the method `{0}` trains no generator")]
    NoGame(Method),
    /// A method that is one.
    #[error("the method `{0}` has to train a generator")]
    Game(Method),
    /// A setting outside its range.
    #[error("setting `{name}` has to be {expected}")]
    Setting {
        /// Its name in the configuration.
        name: &'static str,
        /// What it may be.
        expected: &'static str,
    },
    /// A text that names no device.
    #[error("`{0}` is no device; devices are `cpu`, `cuda:0`, `cuda:1` and so on")]
    DeviceText(String),
    /// A GPU asked of a build that knows none.
    #[error(
        "`{0}` needs a build for NVIDIA GPUs: `cargo install --path host --features cuda`, with \
         CUDA's toolkit installed (docs/gpu.md)"
    )]
    NoCuda(DeviceName),
    /// A GPU that cannot be used.
    #[error("cannot open `{name}`, `nvidia-smi -L` lists what is there: {}", nn::without_backtrace(.cause))]
    Device {
        /// What was asked for.
        name: DeviceName,
        /// What the driver says.
        cause: Box<candle_core::Error>,
    },
    /// A weight with a NaN or an infinity.
    #[error(
        "output channel {channel} of a weight of shape {shape:?} has a value that is not finite"
    )]
    WeightNotFinite {
        /// Output channel.
        channel: usize,
        /// Shape of the weight.
        shape: Vec<usize>,
    },
    /// A range whose ends are no numbers or in the wrong order.
    #[error("activation range {min} to {max} is not a range")]
    Range {
        /// Lower end.
        min: f32,
        /// Upper end.
        max: f32,
    },
    /// A learned range of weights that does not hold 0, which their codes could not express then.
    #[error("range {min} to {max} of output channel {channel} of a weight has to hold 0")]
    WeightRange {
        /// Index of the output channel.
        channel: usize,
        /// Lower end.
        min: f32,
        /// Upper end.
        max: f32,
    },
    /// A quantizer that has to quantize before it has seen a tensor.
    #[error("the activation range behind node {} has seen no images", .0.0)]
    NothingObserved(NodeId),
    /// Images that the generator cannot make.
    #[error("images of {height} x {width} have no pixels")]
    ImageSize {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// A teacher without BatchNorm.
    #[error("network `{0}` has no BatchNorm, whose statistics stand in for the training data")]
    NoStatistics(String),
    /// A backward pass that left out what was asked of it.
    #[error("the backward pass gave no gradient of the images")]
    NoGradient,
    /// The user asked to stop.
    #[error("stopped before it was done")]
    Stopped,
    /// A loss that is no finite number.
    #[error("{term} is {value}")]
    NotFinite {
        /// Which loss or tensor.
        term: String,
        /// What it is.
        value: f64,
    },
    /// An iteration that failed.
    #[error("epoch {epoch}, iteration {iteration}: {source}; {}", last_good(checkpoint.as_deref()))]
    Iteration {
        /// Counted from 0.
        epoch: usize,
        /// Within the epoch, counted from 0.
        iteration: usize,
        /// What failed.
        source: Box<Error>,
        /// The newest checkpoint, if there is one.
        checkpoint: Option<PathBuf>,
    },
    /// A settings file with a mistake.
    #[error("{}:{line}: {message}", path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// Settings that say nothing of the widths.
    #[error("no bit widths: give `--bits`, or `bits` in the settings file")]
    NoBits,
    /// Settings of flags, file and preset that do not fit together.
    #[error("settings: {0}")]
    Layers(Box<toml::de::Error>),
    /// A file whose content is damaged.
    #[error("`{}` is damaged: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// How that shows.
        reason: String,
    },
    /// A run directory that another process is writing to.
    #[error("another process is training in `{}`", .0.display())]
    Locked(PathBuf),
    /// A checkpoint that lacks something or has it in another form.
    #[error("checkpoint: `{name}` is missing or not as expected ({expected})")]
    Checkpoint {
        /// What is missing.
        name: String,
        /// What it should be.
        expected: String,
    },
    /// Settings that cannot be written as text.
    #[error("settings: {0}")]
    WriteConfig(#[from] toml::ser::Error),
    /// Metrics that cannot be written as text.
    #[error("metrics: {0}")]
    WriteMetrics(#[from] serde_json::Error),
    /// A file that is no archive of tensors, or tensors that cannot be one.
    #[error("tensor archive: {0}")]
    Archive(#[from] safetensors::SafeTensorError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// The float engine failed.
    #[error(transparent)]
    Network(#[from] nn::Error),
    /// A network cannot be saved or loaded.
    #[error(transparent)]
    Graph(Box<FileError>),
    /// A tensor operation failed.
    #[error("tensor operation: {}", nn::without_backtrace(.0))]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// Whether training has left the finite numbers: in a loss, a weight or a range.
    #[must_use]
    pub fn is_divergence(&self) -> bool {
        match self {
            Self::NotFinite { .. } | Self::WeightNotFinite { .. } | Self::Range { .. } => true,
            Self::Iteration { source, .. } => source.is_divergence(),
            Self::Network(error) => {
                let hook = error.of_hook().and_then(|error| error.downcast_ref());
                hook.is_some_and(Self::is_divergence)
            }
            _ => false,
        }
    }
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        Self::Graph(Box::new(error))
    }
}

fn last_good(checkpoint: Option<&Path>) -> String {
    match checkpoint {
        Some(path) => format!("the last good checkpoint is `{}`", path.display()),
        None => "there is no checkpoint yet".to_owned(),
    }
}
