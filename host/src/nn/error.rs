//! What can go wrong between tensors.

use crate::graph::NodeId;

/// Result of a float operator.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operator refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// candle refused; its own backtrace is left out.
    #[error("{}", without_backtrace(.0))]
    Candle(#[from] candle_core::Error),
    /// A tensor of another shape than the operator needs.
    #[error("{operator}: {expected} expected, found shape {found:?}")]
    Shape {
        /// Name of the operator.
        operator: &'static str,
        /// What would fit.
        expected: String,
        /// Shape of the tensor.
        found: Vec<usize>,
    },
    /// An operator failed within a graph.
    #[error("node `{name}`: {source}")]
    Node {
        /// Name of the node.
        name: String,
        /// What went wrong there.
        source: Box<Error>,
    },
    /// A graph that cannot be computed.
    #[error("node {} reads node {}, which is not computed before it", .node.0, .input.0)]
    Order {
        /// The node.
        node: NodeId,
        /// What it reads.
        input: NodeId,
    },
    /// A graph without nodes.
    #[error("the network has no nodes")]
    Empty,
    /// A backward pass needs what the forward pass did not keep.
    #[error("the forward pass did not keep its values for a backward pass")]
    NotKept,
    /// Images and network do not fit.
    #[error(
        "the images of `{dataset}` are {found:?} (height, width, channels); the network takes \
         {expected:?}"
    )]
    Images {
        /// Name of the data set.
        dataset: String,
        /// Shape of its images.
        found: [usize; 3],
        /// What the network takes.
        expected: [usize; 3],
    },
    /// A label that the network has no output for.
    #[error("label {label} is outside the network's {classes} classes")]
    Label {
        /// The label.
        label: usize,
        /// Outputs of the network.
        classes: usize,
    },
    /// A hook refused.
    #[error(transparent)]
    Hook(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// What a hook refused with, if it was one.
    #[must_use]
    pub fn of_hook(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        match self {
            Self::Hook(error) => Some(error.as_ref()),
            Self::Node { source, .. } => source.of_hook(),
            _ => None,
        }
    }

    pub(crate) fn shape(
        operator: &'static str,
        expected: impl Into<String>,
        found: &[usize],
    ) -> Self {
        Self::Shape {
            operator,
            expected: expected.into(),
            found: found.to_vec(),
        }
    }
}

/// What an error of candle says, without the backtrace that it may print.
pub(crate) fn without_backtrace(error: &candle_core::Error) -> String {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => without_backtrace(inner),
        other => other.to_string(),
    }
}
