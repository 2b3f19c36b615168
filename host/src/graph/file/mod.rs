//! One safetensors file per graph: the operators as JSON in the metadata, the parameters as tensors
//! called `<node>.weight` and so on.

mod record;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde::Deserialize;

use record::{Description, NodeRecord, Quantization, record, restore};

use super::tensor_file::{self, TensorFile};
use super::{
    ActivationRange, Graph, Node, NodeId, Op, Placement, QuantizedGraph, ShapeError, infer_shapes,
};

/// Where the metadata has the operators.
const KEY: &str = "lowbit_graph";
/// Version of the JSON that this code reads and writes.
const VERSION: u32 = 1;

/// Why a graph cannot be saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file as a container of tensors.
    #[error(transparent)]
    Tensors(#[from] tensor_file::Error),
    /// A file of tensors without operators.
    #[error("`{0}` holds tensors but no network; a file written by this program expected")]
    NoGraph(PathBuf),
    /// Operators that cannot be understood.
    #[error("`{path}`: the network's description cannot be read: {reason}")]
    Description {
        /// The file.
        path: PathBuf,
        /// What the JSON lacks.
        reason: String,
    },
    /// Written by another version.
    #[error(
        "`{path}` has version {found} of the network's description; version {VERSION} expected"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A float network where a quantized one is needed.
    #[error("`{0}` holds a float network; a quantized one expected")]
    NotQuantized(PathBuf),
    /// Operators and parameters that do not fit together.
    #[error("`{path}`: {source}")]
    Shapes {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        source: ShapeError,
    },
    /// Widths or ranges that no quantizer has.
    #[error("`{path}`: node `{node}`: {expected} expected, found {found}")]
    Quantization {
        /// The file.
        path: PathBuf,
        /// Name of the node.
        node: String,
        /// What it should have.
        expected: &'static str,
        /// What it has.
        found: String,
    },
}

impl Graph {
    /// Writes the network to `path`, replacing what is there as a whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        save(path, self, BTreeMap::new(), None)
    }

    /// Reads a network, also that of a quantized one.
    ///
    /// # Errors
    /// If the file is no such file, damaged, or does not fit together.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        load(&TensorFile::read(path)?).map(|(graph, _)| graph)
    }
}

impl QuantizedGraph {
    /// Writes the network to `path`, replacing what is there as a whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        let quantization = Quantization {
            weight_bits: self.weight_bits.clone(),
            activations: self.activations.clone(),
        };
        let ranges = self.weight_ranges.iter();
        let ranges = ranges.map(|(&node, ranges)| (range_name(&self.graph, node), ranges.clone()));
        save(path, &self.graph, ranges.collect(), Some(quantization))
    }

    /// Reads a quantized network.
    ///
    /// # Errors
    /// If the file is no such file, damaged, or does not fit together.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        let file = TensorFile::read(path)?;
        let (graph, quantization) = load(&file)?;
        let Some(quantization) = quantization else {
            return Err(FileError::NotQuantized(path.to_owned()));
        };
        check_quantization(path, &graph, &quantization)?;
        Ok(Self {
            weight_ranges: weight_ranges(&file, &graph)?,
            weight_bits: quantization.weight_bits,
            activations: quantization.activations,
            graph,
        })
    }
}

/// Writes `graph` with its parameters and `tensors`.
fn save(
    path: &Path,
    graph: &Graph,
    mut tensors: BTreeMap<String, Tensor>,
    quantization: Option<Quantization>,
) -> Result<(), FileError> {
    let nodes = graph
        .nodes
        .iter()
        .map(|node| {
            Ok(NodeRecord {
                name: node.name.clone(),
                op: record(&node.op, |part, tensor| {
                    tensors.insert(format!("{}.{part}", node.name), tensor.clone());
                })?,
                inputs: node.inputs.clone(),
            })
        })
        .collect::<Result<_, tensor_file::Error>>()?;
    let description = Description {
        version: VERSION,
        name: graph.name.clone(),
        input_shape: graph.input_shape,
        normalization: graph.normalization.clone(),
        classes: graph.classes,
        nodes,
        quantization,
    };
    let text = serde_json::to_string(&description).map_err(|error| describe(path, &error))?;
    tensor_file::write(path, &tensors, HashMap::from([(KEY.to_owned(), text)]))?;
    Ok(())
}

/// Name of the learned ranges of a node's weight.
fn range_name(graph: &Graph, node: NodeId) -> String {
    format!("{}.weight_range", graph.nodes[node.0].name)
}

/// The learned ranges that are in `file`.
fn weight_ranges(file: &TensorFile, graph: &Graph) -> Result<BTreeMap<NodeId, Tensor>, FileError> {
    let mut ranges = BTreeMap::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let weight = match &node.op {
            Op::Conv2d(conv) => &conv.weight,
            Op::Linear(linear) => &linear.weight,
            _ => continue,
        };
        let name = range_name(graph, NodeId(index));
        if file.shape(&name).is_some() {
            let channels = weight.dims()[0];
            ranges.insert(NodeId(index), file.tensor(&name, &[channels, 2])?);
        }
    }
    Ok(ranges)
}

fn load(file: &TensorFile) -> Result<(Graph, Option<Quantization>), FileError> {
    let path = file.path();
    let Some(text) = file.metadata(KEY) else {
        return Err(FileError::NoGraph(path.to_owned()));
    };
    check_version(path, text)?;
    let description: Description =
        serde_json::from_str(text).map_err(|error| describe(path, &error))?;
    let nodes = description
        .nodes
        .into_iter()
        .map(|node| {
            Ok(Node {
                op: restore(file, &node.name, node.op)?,
                name: node.name,
                inputs: node.inputs,
            })
        })
        .collect::<Result<_, FileError>>()?;
    let graph = Graph {
        name: description.name,
        input_shape: description.input_shape,
        normalization: description.normalization,
        classes: description.classes,
        nodes,
        placement: Placement::default(),
    };
    infer_shapes(&graph).map_err(|source| FileError::Shapes {
        path: path.to_owned(),
        source,
    })?;
    Ok((graph, description.quantization))
}

fn check_version(path: &Path, text: &str) -> Result<(), FileError> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_str(text).map_err(|error| describe(path, &error))?;
    if version == VERSION {
        return Ok(());
    }
    Err(FileError::Version {
        path: path.to_owned(),
        found: version,
    })
}

fn check_quantization(
    path: &Path,
    graph: &Graph,
    quantization: &Quantization,
) -> Result<(), FileError> {
    let wrong = |node: &str, expected, found| FileError::Quantization {
        path: path.to_owned(),
        node: node.to_owned(),
        expected,
        found,
    };
    let lengths = [
        quantization.weight_bits.len(),
        quantization.activations.len(),
    ];
    if lengths != [graph.nodes.len(); 2] {
        let found = format!("{lengths:?} for {} nodes", graph.nodes.len());
        return Err(wrong("", "one entry per node", found));
    }
    for (node, bits) in graph.nodes.iter().zip(&quantization.weight_bits) {
        let weighted = matches!(node.op, Op::Conv2d(_) | Op::Linear(_));
        let fits = match bits {
            Some(bits) => weighted && (2..=8).contains(bits),
            None => !weighted,
        };
        if !fits {
            let found = format!("{bits:?}");
            return Err(wrong(
                &node.name,
                "2 to 8 bits where there are weights",
                found,
            ));
        }
    }
    for (node, range) in graph.nodes.iter().zip(&quantization.activations) {
        let Some(ActivationRange { bits, min, max }) = *range else {
            continue;
        };
        if !((2..=8).contains(&bits) && min <= max && min.is_finite() && max.is_finite()) {
            let found = format!("{bits} bits, {min} to {max}");
            return Err(wrong(&node.name, "2 to 8 bits and a range", found));
        }
    }
    Ok(())
}

fn describe(path: &Path, error: &serde_json::Error) -> FileError {
    FileError::Description {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Normalization;
    use crate::zoo::{self, RandomParameters};

    fn sample() -> QuantizedGraph {
        let normalization: Normalization = "cifar10".parse().unwrap();
        let network = zoo::network("resnet8").unwrap();
        let graph = network
            .build(&mut RandomParameters::new(0), 10, normalization)
            .unwrap();
        let weight_bits = graph
            .nodes
            .iter()
            .map(|node| matches!(node.op, Op::Conv2d(_) | Op::Linear(_)).then_some(4));
        let range = ActivationRange {
            bits: 3,
            min: 0.0,
            max: 1.7,
        };
        let activations = graph
            .nodes
            .iter()
            .map(|node| matches!(node.op, Op::Relu).then_some(range));
        QuantizedGraph {
            weight_bits: weight_bits.collect(),
            weight_ranges: BTreeMap::new(),
            activations: activations.collect(),
            graph,
        }
    }

    #[test]
    fn a_quantized_network_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.safetensors");
        let mut saved = sample();
        let ranges = Tensor::new(&[[-0.25f32, 0.5]; 16], &candle_core::Device::Cpu).unwrap();
        saved.weight_ranges.insert(NodeId(1), ranges);
        saved.save(&path).unwrap();
        let loaded = QuantizedGraph::load(&path).unwrap();
        // `Debug` shows operators, settings and all elements of small tensors.
        assert_eq!(
            format!("{:?}", saved.graph.nodes),
            format!("{:?}", loaded.graph.nodes)
        );
        let rows = |network: &QuantizedGraph| {
            let ranges = network.weight_ranges.iter();
            let rows = ranges.map(|(&node, ranges)| (node, ranges.to_vec2::<f32>().unwrap()));
            rows.collect::<Vec<_>>()
        };
        assert_eq!(rows(&saved), rows(&loaded));
        assert_eq!(saved.activations, loaded.activations);
        assert_eq!(saved.weight_bits, loaded.weight_bits);
        let (Op::Linear(old), Op::Linear(new)) = (
            &saved.graph.nodes.last().unwrap().op,
            &loaded.graph.nodes.last().unwrap().op,
        ) else {
            panic!("a linear layer expected");
        };
        assert_eq!(
            old.weight.to_vec2::<f32>().unwrap(),
            new.weight.to_vec2::<f32>().unwrap()
        );
        assert!(Graph::load(&path).is_ok());
    }

    #[test]
    fn files_of_other_kinds_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.safetensors");
        let saved = sample();
        saved.graph.save(&path).unwrap();
        assert!(matches!(
            QuantizedGraph::load(&path),
            Err(FileError::NotQuantized(_))
        ));
        let tensor = Tensor::zeros(1, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        let tensors = BTreeMap::from([("x".to_owned(), tensor)]);
        tensor_file::write(&path, &tensors, HashMap::new()).unwrap();
        let error = Graph::load(&path).unwrap_err();
        assert!(matches!(error, FileError::NoGraph(_)), "{error}");
        let metadata = |text: &str| HashMap::from([(KEY.to_owned(), text.to_owned())]);
        tensor_file::write(&path, &BTreeMap::new(), metadata("{\"version\":9}")).unwrap();
        assert!(matches!(
            Graph::load(&path),
            Err(FileError::Version { found: 9, .. })
        ));
        tensor_file::write(&path, &BTreeMap::new(), metadata("{\"version\":1}")).unwrap();
        assert!(matches!(
            Graph::load(&path),
            Err(FileError::Description { .. })
        ));
        let mut wrong = sample();
        wrong.weight_bits[1] = Some(9);
        wrong.save(&path).unwrap();
        let error = QuantizedGraph::load(&path).unwrap_err().to_string();
        assert!(error.contains("`conv1`") && error.contains('9'), "{error}");
    }
}
