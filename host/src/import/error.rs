//! Why a checkpoint is not the network's.

use std::fmt;
use std::path::PathBuf;

use crate::graph::{ShapeError, tensor_file};
use crate::zoo::UnknownNetwork;

/// Result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a checkpoint is not the network's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that no network has.
    #[error(transparent)]
    Network(#[from] UnknownNetwork),
    /// A kind of file that cannot be read.
    #[error("`{0}`: a file .safetensors, .pth, .pt, .th, .bin or .onnx expected")]
    Extension(PathBuf),
    /// An ONNX file that cannot be imported.
    #[error(transparent)]
    Onnx(#[from] super::onnx::Error),
    /// A file of PyTorch that cannot be read.
    #[error(transparent)]
    PyTorch(#[from] super::pytorch::Error),
    /// A network's name where the file describes the network itself.
    #[error("`{path}` describes its network itself; leave out `--network {network}`")]
    NetworkGiven {
        /// The file.
        path: PathBuf,
        /// The name.
        network: String,
    },
    /// A checkpoint without the name of a network.
    #[error(
        "`{0}` holds the tensors of no network that is known; name the network with `--network` \
         (`lowbit networks` lists them), or give it as an ONNX file, which describes itself"
    )]
    Unknown(PathBuf),
    /// The file, or a tensor of the wrong shape or type in it.
    #[error(transparent)]
    File(#[from] tensor_file::Error),
    /// A tensor that the network needs.
    #[error("{0}")]
    Missing(Box<Found>),
    /// Tensors that the network has no place for.
    #[error(
        "`{path}`: `{network}` has no place for {count} of the tensors, such as `{example}`{hint}"
    )]
    Unused {
        /// The file.
        path: PathBuf,
        /// Name of the network.
        network: &'static str,
        /// How many tensors.
        count: usize,
        /// The first of them.
        example: String,
        /// What the checkpoint seems to be.
        hint: Hint,
    },
    /// Another number of classes than asked for.
    #[error("`{path}`: `{tensor}` has {found} classes; {asked} were asked for")]
    Classes {
        /// The file.
        path: PathBuf,
        /// Name of the classifier's weight.
        tensor: String,
        /// What was asked for.
        asked: usize,
        /// What there is.
        found: usize,
    },
    /// Parameters that do not fit together.
    #[error(transparent)]
    Shapes(#[from] ShapeError),
    /// A tensor cannot be made.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// How much of a network a checkpoint has.
#[derive(Debug)]
pub struct Found {
    /// The file.
    pub path: PathBuf,
    /// Name of the network.
    pub network: &'static str,
    /// The first tensor that is missing.
    pub tensor: String,
    /// Shape that it should have.
    pub expected: Vec<usize>,
    /// How many of the network's tensors there are.
    pub present: usize,
    /// How many tensors the network has.
    pub needed: usize,
    /// Names that are most like the missing one, of tensors that the network does not use.
    pub nearest: Vec<String>,
    /// What the checkpoint seems to be.
    pub hint: Hint,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            network,
            tensor,
            expected,
            present,
            needed,
            nearest,
            hint,
        } = self;
        write!(
            f,
            "`{}`: no tensor `{tensor}` of shape {expected:?}; the file has {present} of the \
             {needed} tensors that `{network}` needs",
            path.display(),
        )?;
        if !nearest.is_empty() {
            write!(f, "; the names most like it are `{}`", nearest.join("`, `"))?;
        }
        write!(f, "{hint}")
    }
}

/// What a checkpoint seems to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// That cannot be told.
    None,
    /// The weights of another network.
    WeightsOf(&'static str),
    /// A network without BatchNorm statistics, which data-free training needs.
    NoStatistics,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::WeightsOf(network) => write!(f, "; these are the weights of `{network}`"),
            Self::NoStatistics => write!(
                f,
                "; there are no BatchNorm statistics (`running_var`) in it, which are needed: \
                 export the network before BatchNorm is folded"
            ),
        }
    }
}
