//! Shapes of all values of a graph, which is also the proof that its parts fit together.

use std::collections::HashSet;
use std::fmt;

use candle_core::Tensor;

use super::{BatchNorm, Conv2d, Graph, Linear, Node, NodeId, Op, Padding};

/// Rows, columns and channels of an image are at most this.
const LARGEST_SIZE: usize = u16::MAX as usize;

/// Shape of a node's result for one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Channels, height and width.
    Image([usize; 3]),
    /// A vector of this many elements.
    Flat(usize),
}

impl Shape {
    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> usize {
        match self {
            Self::Image(sizes) => sizes.iter().product(),
            Self::Flat(size) => *size,
        }
    }

    /// Channels of an image, elements of a vector.
    #[must_use]
    pub fn channels(&self) -> usize {
        match *self {
            Self::Image([channels, _, _]) => channels,
            Self::Flat(size) => size,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image([channels, height, width]) => write!(f, "{channels}x{height}x{width}"),
            Self::Flat(size) => write!(f, "{size}"),
        }
    }
}

/// A graph whose parts do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A graph has to begin with its only input and to have something behind it.
    #[error("node {index} (`{node}`): the input has to be node 0 of a graph, and only that")]
    Input {
        /// Index of the node at fault.
        index: usize,
        /// Its name.
        node: String,
    },
    /// Two nodes of one name.
    #[error("two nodes are called `{0}`")]
    DuplicateName(String),
    /// A node that reads itself or a later one, or the wrong number of nodes.
    #[error("node `{node}` has to read {expected} earlier node(s), it reads {found:?}")]
    Inputs {
        /// Name of the node.
        node: String,
        /// How many it has to read.
        expected: usize,
        /// Indices that it reads.
        found: Vec<usize>,
    },
    /// Something that the operator cannot work on.
    #[error("node `{node}`: {expected} expected, found {found}")]
    Mismatch {
        /// Name of the node.
        node: String,
        /// What the operator needs.
        expected: String,
        /// What there is.
        found: String,
    },
}

/// Shapes of the results of all nodes, in the order of the nodes.
///
/// # Errors
/// The first node that does not fit its inputs or its own parameters.
pub fn infer_shapes(graph: &Graph) -> Result<Vec<Shape>, ShapeError> {
    check_names(graph)?;
    let mut shapes = Vec::with_capacity(graph.nodes.len());
    for (index, node) in graph.nodes.iter().enumerate() {
        if matches!(node.op, Op::Input) != (index == 0) {
            return Err(ShapeError::Input {
                index,
                node: node.name.clone(),
            });
        }
        check_inputs(index, node)?;
        let inputs: Vec<Shape> = node.inputs.iter().map(|&NodeId(i)| shapes[i]).collect();
        let shape = infer(graph, node, &inputs)?;
        shapes.push(shape);
    }
    check_ends(graph, &shapes)?;
    Ok(shapes)
}

/// Multiplications of each node for one image; 0 for all but convolutions and linear layers.
///
/// # Errors
/// As [`infer_shapes`].
pub fn macs(graph: &Graph) -> Result<Vec<u64>, ShapeError> {
    let shapes = infer_shapes(graph)?;
    let count = |(node, shape): (&Node, &Shape)| {
        let taps = match &node.op {
            Op::Conv2d(conv) => conv.weight.elem_count() / conv.weight.dims()[0].max(1),
            Op::Linear(linear) => linear.weight.elem_count() / linear.weight.dims()[0].max(1),
            _ => 0,
        };
        taps as u64 * shape.elements() as u64
    };
    Ok(graph.nodes.iter().zip(&shapes).map(count).collect())
}

fn check_names(graph: &Graph) -> Result<(), ShapeError> {
    let mut names = HashSet::new();
    match graph.nodes.iter().find(|node| !names.insert(&node.name)) {
        Some(node) => Err(ShapeError::DuplicateName(node.name.clone())),
        None => Ok(()),
    }
}

fn check_inputs(index: usize, node: &Node) -> Result<(), ShapeError> {
    let expected = match node.op {
        Op::Input => 0,
        Op::Add => 2,
        _ => 1,
    };
    if node.inputs.len() == expected && node.inputs.iter().all(|input| input.0 < index) {
        return Ok(());
    }
    Err(ShapeError::Inputs {
        node: node.name.clone(),
        expected,
        found: node.inputs.iter().map(|input| input.0).collect(),
    })
}

fn check_ends(graph: &Graph, shapes: &[Shape]) -> Result<(), ShapeError> {
    let output = shapes.last().copied();
    if output != Some(Shape::Flat(graph.classes)) || graph.nodes.len() < 2 || graph.classes == 0 {
        let node = graph.nodes.last().map_or("", |node| &node.name);
        return Err(mismatch(
            node,
            format!("an output of {} classes", graph.classes),
            output.map_or("none".to_owned(), |shape| shape.to_string()),
        ));
    }
    if !graph.normalization.fits(graph.input_shape[0]) {
        return Err(mismatch(
            &graph.nodes[0].name,
            format!("a normalisation of {} channels", graph.input_shape[0]),
            format!("{:?}", graph.normalization),
        ));
    }
    Ok(())
}

fn infer(graph: &Graph, node: &Node, inputs: &[Shape]) -> Result<Shape, ShapeError> {
    let name = node.name.as_str();
    match &node.op {
        Op::Input => image_of(name, graph.input_shape),
        Op::Conv2d(conv) => convolution(name, conv, image(name, inputs[0])?),
        Op::BatchNorm(norm) => batch_norm(name, norm, inputs[0]),
        Op::Relu | Op::Relu6 | Op::LeakyRelu { .. } | Op::Tanh => Ok(inputs[0]),
        Op::Add => same(name, inputs[0], inputs[1]),
        Op::SubsamplePad {
            stride,
            front,
            back,
        } => {
            let [channels, height, width] = image(name, inputs[0])?;
            check(name, *stride > 0, "a stride above 0", stride)?;
            let rows = [height, width].map(|size| size.div_ceil(*stride));
            image_of(
                name,
                [
                    channels.saturating_add(*front).saturating_add(*back),
                    rows[0],
                    rows[1],
                ],
            )
        }
        Op::Upsample { factor } => {
            let [channels, height, width] = image(name, inputs[0])?;
            image_of(
                name,
                [
                    channels,
                    height.saturating_mul(*factor),
                    width.saturating_mul(*factor),
                ],
            )
        }
        Op::MaxPool {
            window,
            stride,
            padding,
        } => pool(name, image(name, inputs[0])?, *window, *stride, *padding),
        Op::AveragePool { window, stride } => {
            let none = Padding::default();
            pool(name, image(name, inputs[0])?, *window, *stride, none)
        }
        Op::GlobalAveragePool => Ok(Shape::Flat(image(name, inputs[0])?[0])),
        Op::Flatten => Ok(Shape::Flat(inputs[0].elements())),
        Op::Reshape { shape } => {
            let image = image_of(name, *shape)?;
            let expected = format!("{} elements", image.elements());
            check(
                name,
                image.elements() == inputs[0].elements(),
                &expected,
                inputs[0],
            )?;
            Ok(image)
        }
        Op::Linear(linear) => linear_layer(name, linear, inputs[0]),
    }
}

fn convolution(name: &str, conv: &Conv2d, input: [usize; 3]) -> Result<Shape, ShapeError> {
    let weight = conv.weight.dims();
    let &[out, taps, kernel_height, kernel_width] = weight else {
        return Err(mismatch(
            name,
            "a weight with 4 dimensions",
            format!("{weight:?}"),
        ));
    };
    let groups = conv.groups;
    let grouped =
        groups > 0 && taps.saturating_mul(groups) == input[0] && out % groups == 0 && out > 0;
    check(
        name,
        grouped,
        &format!("a weight for {} channels in {groups} group(s)", input[0]),
        format!("{weight:?}"),
    )?;
    check_vector(name, "bias", conv.bias.as_ref(), out)?;
    let strides = [conv.stride; 2];
    let [height, width] = windows(
        name,
        input,
        [kernel_height, kernel_width],
        strides,
        conv.padding,
    )?;
    image_of(name, [out, height, width])
}

fn batch_norm(name: &str, norm: &BatchNorm, input: Shape) -> Result<Shape, ShapeError> {
    let channels = input.channels();
    check_vector(name, "weight", norm.weight.as_ref(), channels)?;
    check_vector(name, "bias", norm.bias.as_ref(), channels)?;
    check_vector(name, "running_mean", Some(&norm.running_mean), channels)?;
    check_vector(name, "running_var", Some(&norm.running_var), channels)?;
    check(
        name,
        norm.eps.is_finite() && norm.eps >= 0.0,
        "an eps of at least 0",
        norm.eps,
    )?;
    Ok(input)
}

fn linear_layer(name: &str, linear: &Linear, input: Shape) -> Result<Shape, ShapeError> {
    let weight = linear.weight.dims();
    let Shape::Flat(features) = input else {
        return Err(mismatch(name, "a vector", input));
    };
    match *weight {
        [out, taps] if taps == features && out > 0 => {
            check_vector(name, "bias", linear.bias.as_ref(), out)?;
            Ok(Shape::Flat(out))
        }
        _ => {
            let expected = format!("a weight for {features} features");
            Err(mismatch(name, expected, format!("{weight:?}")))
        }
    }
}

fn pool(
    name: &str,
    input: [usize; 3],
    window: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
) -> Result<Shape, ShapeError> {
    let [height, width] = windows(name, input, window, stride, padding)?;
    image_of(name, [input[0], height, width])
}

/// How often a window fits into the padded image, in rows and columns.
fn windows(
    name: &str,
    [_, height, width]: [usize; 3],
    window: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
) -> Result<[usize; 2], ShapeError> {
    let padded = [
        height
            .saturating_add(padding.top)
            .saturating_add(padding.bottom),
        width
            .saturating_add(padding.left)
            .saturating_add(padding.right),
    ];
    let fits = (0..2).all(|i| window[i] > 0 && window[i] <= padded[i] && stride[i] > 0);
    let expected = format!("a window with a step within {}x{}", padded[0], padded[1]);
    check(name, fits, &expected, format!("{window:?} by {stride:?}"))?;
    Ok([0, 1].map(|i| (padded[i] - window[i]) / stride[i] + 1))
}

fn image(name: &str, shape: Shape) -> Result<[usize; 3], ShapeError> {
    match shape {
        Shape::Image(sizes) => Ok(sizes),
        Shape::Flat(_) => Err(mismatch(name, "an image", shape)),
    }
}

fn same(name: &str, left: Shape, right: Shape) -> Result<Shape, ShapeError> {
    check(
        name,
        left == right,
        &format!("two results of shape {left}"),
        right,
    )?;
    Ok(left)
}

/// An image whose sizes are neither 0 nor so large that a product of them could overflow.
fn image_of(name: &str, sizes: [usize; 3]) -> Result<Shape, ShapeError> {
    let shape = Shape::Image(sizes);
    let possible = sizes.iter().all(|size| (1..=LARGEST_SIZE).contains(size));
    check(name, possible, "an image with sizes from 1 to 65535", shape)?;
    Ok(shape)
}

fn check_vector(
    node: &str,
    part: &str,
    tensor: Option<&Tensor>,
    length: usize,
) -> Result<(), ShapeError> {
    match tensor {
        Some(tensor) if tensor.dims() != [length] => Err(mismatch(
            node,
            format!("{part} of shape [{length}]"),
            format!("{:?}", tensor.dims()),
        )),
        _ => Ok(()),
    }
}

fn check(
    node: &str,
    holds: bool,
    expected: &str,
    found: impl fmt::Display,
) -> Result<(), ShapeError> {
    if holds {
        return Ok(());
    }
    Err(mismatch(node, expected, found))
}

fn mismatch(node: &str, expected: impl Into<String>, found: impl fmt::Display) -> ShapeError {
    ShapeError::Mismatch {
        node: node.to_owned(),
        expected: expected.into(),
        found: found.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Normalization;
    use crate::zoo::{self, RandomParameters};

    fn resnet20() -> Graph {
        let normalization: Normalization = "cifar10".parse().unwrap();
        let network = zoo::network("resnet20").unwrap();
        network
            .build(&mut RandomParameters::new(0), 10, normalization)
            .unwrap()
    }

    #[test]
    fn resnet20_has_the_shapes_and_multiplications_of_the_literature() {
        let graph = resnet20();
        let shapes = infer_shapes(&graph).unwrap();
        let shape = |name| {
            let found = graph.nodes.iter().position(|node| node.name == name);
            shapes[found.unwrap()]
        };
        assert_eq!(shape("layer1.2.relu2"), Shape::Image([16, 32, 32]));
        assert_eq!(shape("layer2.0.shortcut"), Shape::Image([32, 16, 16]));
        assert_eq!(shape("layer3.2.add"), Shape::Image([64, 8, 8]));
        assert_eq!(shape("pool"), Shape::Flat(64));
        assert_eq!(macs(&graph).unwrap().iter().sum::<u64>(), 40_551_040);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let change = |change: fn(&mut Graph)| {
            let mut graph = resnet20();
            change(&mut graph);
            infer_shapes(&graph).unwrap_err().to_string()
        };
        let error = change(|graph| graph.input_shape = [4, 32, 32]);
        assert!(
            error.contains("`conv1`") && error.contains("4 channels"),
            "{error}"
        );
        let error = change(|graph| graph.classes = 7);
        assert!(
            error.contains("7 classes") && error.contains("10"),
            "{error}"
        );
        let error = change(|graph| graph.nodes[5].inputs = vec![NodeId(5)]);
        assert!(error.contains("earlier"), "{error}");
        let error = change(|graph| graph.nodes[3].name = "conv1".into());
        assert!(error.contains("`conv1`"), "{error}");
        let error = change(|graph| graph.nodes[4].op = Op::Upsample { factor: usize::MAX });
        assert!(error.contains("65535"), "{error}");
        let error = change(|graph| graph.nodes.truncate(1));
        assert!(error.contains("10 classes"), "{error}");
    }
}
