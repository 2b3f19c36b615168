//! ONNX files to graphs, BatchNorm kept.
//!
//! | file | subject |
//! | --- | --- |
//! | `schema`, `source` | the messages of a file, and how its bytes get there |
//! | `array`, `fold` | constants, and operators on them |
//! | `shapes` | what operators do to shapes |
//! | `attributes` | settings of an operator |
//! | `network` | walks the file, collects nodes and everything that is not supported |
//! | `operators`, `layers`, `windows` | one operator of the file to one of the graph |

mod array;
mod attributes;
mod fold;
mod layers;
mod network;
mod operators;
mod schema;
mod shapes;
mod source;
#[cfg(test)]
mod tests;
mod windows;

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};
use prost::{DecodeError, Message};

use schema::Model;
use source::Source;

use super::Imported;
use crate::graph::{Normalization, ShapeError};

/// The first version of the operators that is read.
const OLDEST_OPSET: i64 = 11;

/// Why an ONNX file cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read; the message names it.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Not an ONNX file, or a damaged one.
    #[error("`{path}` is not an ONNX file: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An old version of the operators.
    #[error(
        "`{path}` has version {found} of the operators; at least {OLDEST_OPSET} expected: export it \
         again with `opset_version=17`, or convert it with `onnx.version_converter`"
    )]
    Opset {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// Inputs or outputs that no network here has.
    #[error("`{path}`: {what}")]
    Interface {
        /// The file.
        path: PathBuf,
        /// What is expected and what there is.
        what: String,
    },
    /// Operators that cannot be imported.
    #[error("`{}`: {} of its operators cannot be imported:{}", .path.display(), .problems.len(), list(.problems))]
    Operators {
        /// The file.
        path: PathBuf,
        /// All of them.
        problems: Vec<Problem>,
    },
    /// Operators that do not fit together.
    #[error("`{path}`: {source}")]
    Shapes {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        source: ShapeError,
    },
}

/// An operator that cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Name of the node in the file.
    pub node: String,
    /// Type of the operator.
    pub operator: String,
    /// What is in the way, and what would help.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`: {}", self.operator, self.node, self.what)
    }
}

fn list(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect()
}

/// What an operator has that is not supported, in words for the user.
#[derive(Debug)]
struct Refusal(String);

impl Refusal {
    fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// Reads the network in the ONNX file at `path`. Weights in other files of the same folder are
/// read, too. The bytes of a weight are dropped as soon as its numbers are known.
///
/// # Errors
/// See [`Error`]; all operators that are not supported are listed at once.
pub fn read(path: &Path, normalization: Option<Normalization>) -> Result<Imported, Error> {
    let mut source = Source::open(path)?;
    let size = source.remaining();
    let model = Model::decode(&mut source);
    source.check()?;
    import(path, model, size, normalization)
}

/// [`read`] for the content of a file; `path` names it and says where other files are.
///
/// # Errors
/// As [`read`].
pub fn decode(
    path: &Path,
    bytes: Bytes,
    normalization: Option<Normalization>,
) -> Result<Imported, Error> {
    let size = bytes.len();
    import(path, Model::decode(bytes), size, normalization)
}

fn import(
    path: &Path,
    model: Result<Model, DecodeError>,
    size: usize,
    normalization: Option<Normalization>,
) -> Result<Imported, Error> {
    let format = |reason: String| Error::Format {
        path: path.to_owned(),
        reason,
    };
    let model = model.map_err(|error| format(error.to_string()))?;
    let graph = model
        .graph
        .ok_or_else(|| format("it has no graph".to_owned()))?;
    let opset = model
        .opset_import
        .iter()
        .find(|set| matches!(set.domain.as_str(), "" | "ai.onnx"));
    match opset.map(|set| set.version) {
        None => return Err(format("it names no version of the operators".to_owned())),
        Some(found) if found < OLDEST_OPSET => {
            return Err(Error::Opset {
                path: path.to_owned(),
                found,
            });
        }
        Some(_) => {}
    }
    network::import(path, graph, size, normalization)
}
