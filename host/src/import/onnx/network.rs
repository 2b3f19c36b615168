//! Walks the nodes of a file. Values that can be known are computed at once, the others become
//! nodes of the graph.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use candle_core::{Device, Tensor};

use super::array::Array;
use super::fold::fold;
use super::schema::{GraphProto, NodeProto, ValueInfo};
use super::{Error, Problem, Refusal};
use crate::graph::{
    Graph, Node, NodeId, Normalization, Op, Padding, Placement, Shape, infer_shapes,
};
use crate::import::Imported;

/// Constants that are computed may have this many elements more than the file has bytes.
const SPARE_ELEMENTS: usize = 1 << 20;

/// A value of the file.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// An initializer, decoded where it is needed.
    Stored(usize),
    Constant(Rc<Array>),
    Dynamic(Dynamic),
    /// Computed by a node that is not supported.
    Unknown,
}

/// A value that depends on the image.
#[derive(Debug, Clone)]
pub(super) struct Dynamic {
    pub(super) node: NodeId,
    /// Shape of the node for one image.
    pub(super) shape: Shape,
    /// Sizes in the file, batch, zeros and steps included.
    pub(super) dims: Vec<usize>,
    /// Zeros around the image that no node adds yet.
    pub(super) padding: Padding,
    /// Every how many-th row and column is taken, which no node does yet.
    pub(super) steps: [usize; 2],
}

/// Imports `graph`, read from a file of `size` bytes.
pub(super) fn import(
    path: &Path,
    graph: &GraphProto,
    size: usize,
    normalization: Option<Normalization>,
) -> Result<Imported, Error> {
    let mut network = Network::new(path, graph, size);
    network.input()?;
    for node in &graph.node {
        network.node(node);
    }
    network.finish(normalization)
}

/// A graph under construction.
pub(super) struct Network<'a> {
    path: &'a Path,
    file: &'a GraphProto,
    values: HashMap<&'a str, Value>,
    /// How often each value is read, by nodes and as output.
    uses: HashMap<&'a str, usize>,
    /// Elements of constants that may still be made.
    budget: usize,
    pub(super) input_shape: [usize; 3],
    pub(super) nodes: Vec<Node>,
    problems: Vec<Problem>,
    pub(super) notes: Vec<String>,
}

impl<'a> Network<'a> {
    fn new(path: &'a Path, file: &'a GraphProto, size: usize) -> Self {
        let stored = file.initializer.iter().enumerate();
        let values = stored.map(|(index, tensor)| (tensor.name.as_str(), Value::Stored(index)));
        let mut uses = HashMap::new();
        let outputs = file.output.iter().map(|output| &output.name);
        for name in file.node.iter().flat_map(|node| &node.input).chain(outputs) {
            *uses.entry(name.as_str()).or_insert(0) += 1;
        }
        Self {
            path,
            file,
            values: values.collect(),
            uses,
            budget: size
                .saturating_add(external_bytes(path, file))
                .saturating_add(SPARE_ELEMENTS),
            input_shape: [0; 3],
            nodes: Vec::new(),
            problems: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn interface(&self, what: impl Into<String>) -> Error {
        Error::Interface {
            path: self.path.to_owned(),
            what: what.into(),
        }
    }

    /// The only input that is no weight.
    fn input(&mut self) -> Result<(), Error> {
        let is_input = |input: &&'a ValueInfo| !self.values.contains_key(input.name.as_str());
        let inputs: Vec<_> = self.file.input.iter().filter(is_input).collect();
        let [input] = inputs[..] else {
            let names: Vec<_> = inputs.iter().map(|input| input.name.as_str()).collect();
            return Err(self.interface(format!("one input expected, found {names:?}")));
        };
        let dims = sizes_of(input);
        let dims = dims.as_deref().and_then(|sizes| match sizes {
            [batch, others @ ..] if matches!(others.len(), 1..=3) => {
                let others = others.iter().copied().collect::<Option<Vec<_>>>()?;
                Some([vec![batch.unwrap_or(1).max(1)], others].concat())
            }
            _ => None,
        });
        let Some(dims) = dims else {
            return Err(self.interface(format!(
                "the input `{}` has to be an image [batch, channels, height, width] of fixed size; \
                 export the network for one size of images (only the batch may vary)",
                input.name
            )));
        };
        self.input_shape = match dims[1..] {
            [features] => [features, 1, 1],
            [height, width] => [1, height, width],
            _ => [dims[1], dims[2], dims[3]],
        };
        let node = self.add("input", Op::Input, &[]);
        let mut value = self.dynamic(node, Shape::Image(self.input_shape), dims);
        if value.dims.len() == 2 {
            value.shape = Shape::Flat(value.dims[1]);
            value.node = self.add("flatten", Op::Flatten, &[node]);
        }
        self.values.insert(&input.name, Value::Dynamic(value));
        Ok(())
    }

    fn node(&mut self, node: &'a NodeProto) {
        let value = self.evaluate(node).unwrap_or_else(|Refusal(what)| {
            self.problems.push(Problem {
                node: node.label().to_owned(),
                operator: node.op_type.clone(),
                what,
            });
            Value::Unknown
        });
        if let Some(output) = node.output.first() {
            self.values.insert(output, value);
        }
    }

    fn evaluate(&mut self, node: &'a NodeProto) -> Result<Value, Refusal> {
        self.check_operator(node)?;
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(match self.values.get(name.as_str()) {
                None if name.is_empty() => None,
                None => {
                    return Err(Refusal::new(format!(
                        "nothing computes `{name}`, which it reads"
                    )));
                }
                Some(value) => Some(value.clone()),
            });
        }
        if inputs
            .iter()
            .flatten()
            .any(|value| matches!(value, Value::Unknown))
        {
            return Ok(Value::Unknown);
        }
        let is_dynamic = |value: &Value| matches!(value, Value::Dynamic(_));
        if inputs.iter().flatten().any(is_dynamic) {
            return self.operator(node, &inputs);
        }
        self.constant_operator(node, &inputs)
    }

    fn constant_operator(
        &mut self,
        node: &'a NodeProto,
        inputs: &[Option<Value>],
    ) -> Result<Value, Refusal> {
        match (node.op_type.as_str(), inputs.first()) {
            ("Constant", _) => return self.constant_node(node),
            ("Identity" | "Dropout", Some(Some(value))) => return Ok(value.clone()),
            _ => {}
        }
        let inputs = inputs
            .iter()
            .map(|value| value.as_ref().map(|value| self.array(value)).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        let Some(result) = fold(node, &inputs, self.budget) else {
            return Err(Refusal::new(
                "it is not computed on constants; simplify the file first, \
                                     for example with onnxslim or onnxsim",
            ));
        };
        let result = result?;
        self.spend(result.data.len())?;
        Ok(Value::Constant(Rc::new(result)))
    }

    fn constant_node(&mut self, node: &NodeProto) -> Result<Value, Refusal> {
        let array = if let Some(tensor) = node.tensor("value") {
            Array::decode(tensor, self.path.parent())?
        } else if let Some(values) = node.ints("value_ints") {
            Array::integers(values.to_vec())
        } else if let Some(values) = node.floats("value_floats") {
            Array {
                dims: vec![values.len()],
                data: super::array::Data::Float(values.to_vec()),
            }
        } else if node
            .attribute
            .iter()
            .any(|found| found.name == "value_float")
        {
            Array {
                dims: vec![],
                data: super::array::Data::Float(vec![node.float("value_float", 0.0)]),
            }
        } else if node.attribute.iter().any(|found| found.name == "value_int") {
            Array {
                dims: vec![],
                data: super::array::Data::Int(vec![node.int("value_int", 0)]),
            }
        } else {
            return Err(Refusal::new(
                "a constant that is neither numbers nor a tensor",
            ));
        };
        self.spend(array.data.len())?;
        Ok(Value::Constant(Rc::new(array)))
    }

    fn spend(&mut self, elements: usize) -> Result<(), Refusal> {
        let left = self.budget.checked_sub(elements);
        self.budget = left
            .ok_or_else(|| Refusal::new("its constants are larger than the file accounts for"))?;
        Ok(())
    }

    /// A constant, decoded.
    pub(super) fn array(&mut self, value: &Value) -> Result<Array, Refusal> {
        match value {
            Value::Constant(array) => Ok((**array).clone()),
            Value::Stored(index) => {
                let tensor = &self.file.initializer[*index];
                let array = Array::decode(tensor, self.path.parent());
                let array = array.map_err(|Refusal(what)| {
                    Refusal(format!("its constant `{}` has {what}", tensor.name))
                })?;
                self.spend(array.data.len())?;
                Ok(array)
            }
            Value::Dynamic(_) | Value::Unknown => Err(Refusal::new(
                "an input has to be constant that depends on the image",
            )),
        }
    }

    /// A constant of finite floats.
    pub(super) fn weights(&mut self, value: &Value) -> Result<Tensor, Refusal> {
        let array = self.array(value)?;
        let dims = array.dims.clone();
        let values = array.floats();
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            let what = format!("element {index} of its weights is {}", values[index]);
            return Err(Refusal::new(what));
        }
        tensor(values, &dims)
    }

    /// Name of the parameter `value` without its last part, the name of its layer in PyTorch.
    pub(super) fn layer_name(&self, value: Option<&Value>, node: &NodeProto) -> String {
        let stored = match value {
            Some(Value::Stored(index)) => Some(&self.file.initializer[*index].name),
            _ => None,
        };
        let layer = stored.and_then(|name| name.strip_suffix(".weight"));
        layer.unwrap_or_else(|| node.label()).to_owned()
    }

    /// Adds a node to the graph; names are made unique at the end.
    pub(super) fn add(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> NodeId {
        self.nodes.push(Node {
            name: name.to_owned(),
            op,
            inputs: inputs.to_vec(),
        });
        NodeId(self.nodes.len() - 1)
    }

    pub(super) fn dynamic(&self, node: NodeId, shape: Shape, dims: Vec<usize>) -> Dynamic {
        Dynamic {
            node,
            shape,
            dims,
            padding: Padding::default(),
            steps: [1, 1],
        }
    }

    /// Whether `name` is an output of the network that no node reads.
    pub(super) fn is_final(&self, name: Option<&String>) -> bool {
        let is_output =
            |name: &&String| self.file.output.iter().any(|output| output.name == **name);
        name.filter(is_output)
            .is_some_and(|name| self.uses.get(name.as_str()) == Some(&1))
    }

    /// Whether a single node reads `name`.
    pub(super) fn is_read_once(&self, name: &str) -> bool {
        self.uses.get(name) == Some(&1)
    }

    fn finish(mut self, normalization: Option<Normalization>) -> Result<Imported, Error> {
        if !self.problems.is_empty() {
            return Err(Error::Operators {
                path: self.path.to_owned(),
                problems: self.problems,
            });
        }
        let [output] = &self.file.output[..] else {
            let names: Vec<_> = self.file.output.iter().map(|output| &output.name).collect();
            return Err(self.interface(format!("one output expected, found {names:?}")));
        };
        let value = match self.values.get(output.name.as_str()).cloned() {
            Some(Value::Dynamic(value)) => self.flat(&value),
            _ => Err(Refusal::new("nothing computes it from the input")),
        };
        let value = value.map_err(|Refusal(what)| {
            self.interface(format!("the output `{}`: {what}", output.name))
        })?;
        let graph = Graph {
            name: self.name(),
            input_shape: self.input_shape,
            normalization: normalization
                .clone()
                .unwrap_or_else(|| Normalization::identity(self.input_shape[0])),
            classes: value.shape.elements(),
            nodes: reachable(self.nodes, value.node),
            placement: Placement::default(),
        };
        infer_shapes(&graph).map_err(|source| Error::Shapes {
            path: self.path.to_owned(),
            source,
        })?;
        Ok(Imported {
            graph,
            normalized: normalization.is_some(),
            notes: self.notes,
        })
    }

    fn name(&self) -> String {
        let stem = self.path.file_stem().map(|stem| stem.to_string_lossy());
        stem.map_or_else(|| self.file.name.clone(), |stem| stem.into_owned())
    }
}

/// Finite floats as a tensor of shape `dims`.
pub(super) fn tensor(values: Vec<f32>, dims: &[usize]) -> Result<Tensor, Refusal> {
    let tensor = Tensor::from_vec(values, dims, &Device::Cpu);
    tensor.map_err(|error| Refusal::new(format!("its weights: {error}")))
}

/// Sizes of an input, `None` where they vary.
fn sizes_of(input: &ValueInfo) -> Option<Vec<Option<usize>>> {
    let tensor = input.r#type.as_ref()?.tensor_type.as_ref()?;
    let size = |size: Option<i64>| usize::try_from(size?).ok().filter(|&size| size > 0);
    let dims = tensor.shape.as_ref()?.dim.iter();
    Some(dims.map(|dim| size(dim.dim_value)).collect())
}

/// Length of the files that hold weights.
fn external_bytes(path: &Path, file: &GraphProto) -> usize {
    let mut names: Vec<&str> = file
        .initializer
        .iter()
        .flat_map(|tensor| &tensor.external_data)
        .filter(|entry| entry.key == "location")
        .map(|entry| entry.value.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let length =
        |name: &str| Some(fs_err::metadata(path.parent()?.join(name)).ok()?.len() as usize);
    names.into_iter().filter_map(length).sum()
}

/// The nodes that `output` needs, with names of their own.
fn reachable(nodes: Vec<Node>, output: NodeId) -> Vec<Node> {
    let mut needed = vec![false; nodes.len()];
    needed[0] = true;
    needed[output.0] = true;
    for index in (0..=output.0).rev() {
        if needed[index] {
            nodes[index]
                .inputs
                .iter()
                .for_each(|input| needed[input.0] = true);
        }
    }
    let mut places = vec![NodeId(0); nodes.len()];
    let mut kept: Vec<Node> = Vec::new();
    let mut names: HashMap<String, usize> = HashMap::new();
    for (index, mut node) in nodes.into_iter().enumerate() {
        if !needed[index] {
            continue;
        }
        places[index] = NodeId(kept.len());
        node.inputs
            .iter_mut()
            .for_each(|input| *input = places[input.0]);
        while names.contains_key(&node.name) {
            let count = names.entry(node.name.clone()).or_default();
            *count += 1;
            node.name = format!("{}_{}", node.name, *count + 1);
        }
        names.insert(node.name.clone(), 0);
        kept.push(node);
    }
    kept
}
