//! Walks the nodes of a file. Values that can be known are computed at once, the others become
//! nodes of the graph.

use std::collections::HashMap;
use std::mem::take;
use std::path::Path;
use std::rc::Rc;

use candle_core::{Device, Tensor};

use super::array::Array;
use super::fold::fold;
use super::schema::{GraphProto, NodeProto, TensorProto, ValueInfo};
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
    /// An initializer, decoded where it is needed and dropped where it is needed last.
    Stored(Rc<TensorProto>),
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
    mut graph: GraphProto,
    size: usize,
    normalization: Option<Normalization>,
) -> Result<Imported, Error> {
    let nodes = take(&mut graph.node);
    let mut network = Network::new(path, graph, &nodes, size);
    network.input()?;
    for (index, node) in nodes.into_iter().enumerate() {
        network.node(index, node);
    }
    network.finish(normalization)
}

/// Who reads a value.
#[derive(Debug, Default)]
struct Reads {
    /// How often nodes do, and the network's output.
    count: usize,
    /// Index of the last node that does, `None` if the network's output does.
    last: Option<usize>,
}

/// A graph under construction.
pub(super) struct Network<'a> {
    path: &'a Path,
    /// The file's graph without what has been taken from it: nodes and initializers.
    file: GraphProto,
    /// Values that are still read, by name.
    values: HashMap<String, Value>,
    reads: HashMap<String, Reads>,
    /// Elements of constants that may still be made.
    budget: usize,
    pub(super) input_shape: [usize; 3],
    pub(super) nodes: Vec<Node>,
    problems: Vec<Problem>,
    pub(super) notes: Vec<String>,
}

impl<'a> Network<'a> {
    fn new(path: &'a Path, mut file: GraphProto, nodes: &[NodeProto], size: usize) -> Self {
        let external = external_bytes(path, &file);
        let stored = take(&mut file.initializer).into_iter();
        let values = stored.map(|tensor| (tensor.name.clone(), Value::Stored(Rc::new(tensor))));
        let mut reads: HashMap<String, Reads> = HashMap::new();
        for (index, node) in nodes.iter().enumerate() {
            for name in &node.input {
                let reads = reads.entry(name.clone()).or_default();
                reads.count += 1;
                reads.last = Some(index);
            }
        }
        for output in &file.output {
            let reads = reads.entry(output.name.clone()).or_default();
            reads.count += 1;
            reads.last = None;
        }
        Self {
            path,
            values: values.collect(),
            file,
            reads,
            budget: size.saturating_add(external).saturating_add(SPARE_ELEMENTS),
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
        let is_input = |input: &&ValueInfo| !self.values.contains_key(&input.name);
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
        let name = input.name.clone();
        let node = self.add("input", Op::Input, &[]);
        let mut value = self.dynamic(node, Shape::Image(self.input_shape), dims);
        if value.dims.len() == 2 {
            value.shape = Shape::Flat(value.dims[1]);
            value.node = self.add("flatten", Op::Flatten, &[node]);
        }
        self.values.insert(name, Value::Dynamic(value));
        Ok(())
    }

    fn node(&mut self, index: usize, mut node: NodeProto) {
        let value = self.evaluate(index, &mut node);
        let value = value.unwrap_or_else(|Refusal(what)| {
            self.problems.push(Problem {
                node: node.label().to_owned(),
                operator: node.op_type.clone(),
                what,
            });
            Value::Unknown
        });
        if let Some(output) = node.output.into_iter().next() {
            self.values.insert(output, value);
        }
    }

    fn evaluate(&mut self, index: usize, node: &mut NodeProto) -> Result<Value, Refusal> {
        self.check_operator(node)?;
        let mut inputs = self.inputs(index, node)?;
        if inputs
            .iter()
            .flatten()
            .any(|value| matches!(value, Value::Unknown))
        {
            return Ok(Value::Unknown);
        }
        let is_dynamic = |value: &Value| matches!(value, Value::Dynamic(_));
        if inputs.iter().flatten().any(is_dynamic) {
            return self.operator(node, &mut inputs);
        }
        self.constant_operator(node, inputs)
    }

    /// What node `index` reads. Values that no other reads later are only there from now on.
    fn inputs(&mut self, index: usize, node: &NodeProto) -> Result<Vec<Option<Value>>, Refusal> {
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(match self.values.get(name) {
                None if name.is_empty() => None,
                None => {
                    return Err(Refusal::new(format!(
                        "nothing computes `{name}`, which it reads"
                    )));
                }
                Some(value) => Some(value.clone()),
            });
        }
        let is_last = |reads: &Reads| reads.last == Some(index);
        for name in &node.input {
            if self.reads.get(name).is_some_and(is_last) {
                self.values.remove(name);
            }
        }
        Ok(inputs)
    }

    fn constant_operator(
        &mut self,
        node: &mut NodeProto,
        inputs: Vec<Option<Value>>,
    ) -> Result<Value, Refusal> {
        match (node.op_type.as_str(), inputs.first()) {
            ("Constant", _) => return self.constant_node(node),
            ("Identity" | "Dropout", Some(Some(value))) => return Ok(value.clone()),
            _ => {}
        }
        let inputs = inputs
            .into_iter()
            .map(|value| value.map(|value| self.array(value)).transpose())
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

    fn constant_node(&mut self, node: &mut NodeProto) -> Result<Value, Refusal> {
        let array = if let Some(tensor) = node.take_tensor("value") {
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

    /// A constant, decoded; without another copy of it in memory if it is the last to hold it.
    pub(super) fn array(&mut self, value: Value) -> Result<Array, Refusal> {
        match value {
            Value::Constant(array) => Ok(Rc::unwrap_or_clone(array)),
            Value::Stored(tensor) => {
                let mut tensor = Rc::unwrap_or_clone(tensor);
                let name = take(&mut tensor.name);
                let array = Array::decode(tensor, self.path.parent());
                let array = array.map_err(|Refusal(what)| {
                    Refusal(format!("its constant `{name}` has {what}"))
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
    pub(super) fn weights(&mut self, value: Value) -> Result<Tensor, Refusal> {
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
    pub(super) fn layer_name(value: Option<&Value>, node: &NodeProto) -> String {
        let stored = match value {
            Some(Value::Stored(tensor)) => Some(&tensor.name),
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
            .is_some_and(|name| self.is_read_once(name))
    }

    /// Whether `name` is read in one place only.
    pub(super) fn is_read_once(&self, name: &str) -> bool {
        self.reads.get(name).is_some_and(|reads| reads.count == 1)
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
        let output = output.name.clone();
        let value = match self.values.get(&output).cloned() {
            Some(Value::Dynamic(value)) => self.flat(&value),
            _ => Err(Refusal::new("nothing computes it from the input")),
        };
        let value = value
            .map_err(|Refusal(what)| self.interface(format!("the output `{output}`: {what}")))?;
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
