//! A float network as a list of operators, BatchNorm kept, and the same network with the bit widths
//! and activation ranges of its quantized copy.

mod file;
mod normalization;
mod parameters;
mod placement;
mod quantizers;
mod shapes;
pub mod tensor_file;

use std::collections::BTreeMap;

use candle_core::Tensor;

pub use file::FileError;
pub use normalization::{Normalization, UnknownNormalization};
pub use parameters::ParameterName;
pub use placement::{Operators, Placement, Precision};
pub use quantizers::Quantizer;
pub use shapes::{Shape, ShapeError, infer_shapes, macs};

/// Index of a node in [`Graph::nodes`].
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct NodeId(pub usize);

/// Rows or columns of zeros on each side of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Padding {
    /// Above.
    pub top: usize,
    /// On the left.
    pub left: usize,
    /// Below.
    pub bottom: usize,
    /// On the right.
    pub right: usize,
}

impl Padding {
    /// The same number on all sides.
    #[must_use]
    pub const fn same(amount: usize) -> Self {
        Self {
            top: amount,
            left: amount,
            bottom: amount,
            right: amount,
        }
    }
}

impl Padding {
    /// What TensorFlow calls `SAME`: so many zeros that an image of `size` rows and columns gives
    /// `size / stride` windows, rounded up; if their number is odd, the larger half comes behind.
    #[must_use]
    pub fn tensorflow_same(size: [usize; 2], kernel: [usize; 2], stride: [usize; 2]) -> Self {
        let total = |axis: usize| {
            let steps = size[axis].div_ceil(stride[axis].max(1)).max(1) - 1;
            let covered = steps.saturating_mul(stride[axis]);
            covered
                .saturating_add(kernel[axis])
                .saturating_sub(size[axis])
        };
        let (rows, columns) = (total(0), total(1));
        Self {
            top: rows / 2,
            left: columns / 2,
            bottom: rows - rows / 2,
            right: columns - columns / 2,
        }
    }
}

/// A float convolution.
#[derive(Debug, Clone)]
pub struct Conv2d {
    /// `[out, in / groups, kernel rows, kernel columns]`.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Option<Tensor>,
    /// Step in rows and columns.
    pub stride: usize,
    /// Zeros around the image.
    pub padding: Padding,
    /// Channel groups.
    pub groups: usize,
}

/// `weight * (x - running_mean) / sqrt(running_var + eps) + bias`, all of shape `[channels]`.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    /// Gamma; `None` stands for 1.
    pub weight: Option<Tensor>,
    /// Beta; `None` stands for 0.
    pub bias: Option<Tensor>,
    /// Mean of the training data.
    pub running_mean: Tensor,
    /// Variance of the training data.
    pub running_var: Tensor,
    /// Added to the variance.
    pub eps: f64,
}

/// A float linear layer.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Option<Tensor>,
}

/// What a node computes from its inputs. Images are `[batch, channels, height, width]`.
#[derive(Debug, Clone)]
pub enum Op {
    /// The normalised image; node 0 of every graph, and only that.
    Input,
    /// Convolution.
    Conv2d(Conv2d),
    /// Batch normalisation.
    BatchNorm(BatchNorm),
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x` where positive, `slope * x` elsewhere.
    LeakyRelu {
        /// Factor of negative values.
        slope: f64,
    },
    /// Hyperbolic tangent.
    Tanh,
    /// Sum of two nodes of the same shape.
    Add,
    /// The parameter-free shortcut: every `stride`-th row and column, with channels of zeros put
    /// in front and behind.
    SubsamplePad {
        /// Step in rows and columns.
        stride: usize,
        /// Channels of zeros before the first.
        front: usize,
        /// Channels of zeros after the last.
        back: usize,
    },
    /// Every pixel becomes a square of `factor` x `factor` (nearest neighbour).
    Upsample {
        /// Rows and columns per pixel.
        factor: usize,
    },
    /// Largest value of each window.
    MaxPool {
        /// Rows and columns of the window.
        window: [usize; 2],
        /// Step in rows and columns.
        stride: [usize; 2],
        /// Zeros (never chosen) around the image.
        padding: Padding,
    },
    /// Mean of each window that lies within the image.
    AveragePool {
        /// Rows and columns of the window.
        window: [usize; 2],
        /// Step in rows and columns.
        stride: [usize; 2],
    },
    /// Mean over the image: `[batch, channels]`.
    GlobalAveragePool,
    /// `[batch, channels * height * width]`, in that order.
    Flatten,
    /// `[batch, features]` to `[batch, channels, height, width]`.
    Reshape {
        /// Channels, height and width.
        shape: [usize; 3],
    },
    /// Linear layer.
    Linear(Linear),
}

/// An operator, the nodes it reads and the name of its parameters in the checkpoint.
#[derive(Debug, Clone)]
pub struct Node {
    /// Unique within the graph; parameters are called `<name>.weight` and so on.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Earlier nodes.
    pub inputs: Vec<NodeId>,
}

/// A network. Nodes are in an order in which they can be computed; the last one is the output.
#[derive(Debug, Clone)]
pub struct Graph {
    /// Name of the network.
    pub name: String,
    /// Channels, height and width of the input.
    pub input_shape: [usize; 3],
    /// How pixels become the input.
    pub normalization: Normalization,
    /// Number of outputs.
    pub classes: usize,
    /// The operators.
    pub nodes: Vec<Node>,
    /// Where it is computed.
    pub placement: Placement,
}

impl Graph {
    /// Whether there are statistics of the training data, which data-free training learns from.
    #[must_use]
    pub fn has_batch_norm(&self) -> bool {
        self.nodes
            .iter()
            .any(|node| matches!(node.op, Op::BatchNorm(_)))
    }
}

/// Width and frozen range of the quantizer behind a node.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ActivationRange {
    /// 2 to 8.
    pub bits: u8,
    /// Real value of the lowest code.
    pub min: f32,
    /// Real value of the highest code.
    pub max: f32,
}

/// A network with fake-quantized weights and activations: what training ends with and lowering
/// starts from. The lists have one entry per node of `graph`.
#[derive(Debug, Clone)]
pub struct QuantizedGraph {
    /// The trained float parameters.
    pub graph: Graph,
    /// Bits of the weights of convolutions and linear layers, `None` for other nodes.
    pub weight_bits: Vec<Option<u8>>,
    /// Learned ranges of weights, `[out, 2]` with the real values of the lowest and the highest
    /// code of every output channel. A weight that is not named has the range of its values.
    pub weight_ranges: BTreeMap<NodeId, Tensor>,
    /// Quantizers behind nodes (the ReLUs), `None` where there is none.
    pub activations: Vec<Option<ActivationRange>>,
}
