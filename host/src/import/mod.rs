//! Checkpoints and ONNX files to graphs.

mod checkpoint;
mod error;
pub mod hub;
mod names;
pub mod onnx;
pub mod pytorch;
#[cfg(test)]
mod tests;

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::graph::{Graph, Normalization, infer_shapes};
use crate::zoo::{self, Network, Parameters};

pub use checkpoint::Checkpoint;
pub use error::{Error, Found, Hint, Result};

/// A network with what is to be known of it.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The network.
    pub graph: Graph,
    /// Whether it is known how pixels become its input. If not, they go in as `pixel / 255`.
    pub normalized: bool,
    /// What was changed, for the user.
    pub notes: Vec<String>,
}

/// Reads the network at `path`: an ONNX file, a network that this program saved, or a checkpoint of
/// the network called `network`, which may be left out where only one network has such tensors.
///
/// # Errors
/// As [`load`] and [`onnx::read`]; [`Error::Classes`] for another number of classes than asked for.
pub fn open(
    path: &Path,
    network: Option<&str>,
    classes: Option<usize>,
    normalization: Option<Normalization>,
) -> Result<Imported> {
    if is_onnx(path) {
        if let Some(network) = network {
            return Err(Error::NetworkGiven {
                path: path.to_owned(),
                network: network.to_owned(),
            });
        }
        let imported = onnx::read(path, normalization)?;
        return match classes {
            Some(asked) if asked != imported.graph.classes => Err(Error::Classes {
                path: path.to_owned(),
                tensor: name_of_last(&imported.graph),
                asked,
                found: imported.graph.classes,
            }),
            _ => Ok(imported),
        };
    }
    let checkpoint = Checkpoint::read(path)?;
    let network = match network {
        Some(name) => zoo::network(name)?,
        None => recognize(&checkpoint).ok_or_else(|| Error::Unknown(path.to_owned()))?,
    };
    let chosen = normalization.clone().or_else(|| network.normalization());
    let [channels, ..] = network.input_shape;
    let graph = load_checkpoint(
        &checkpoint,
        network,
        classes,
        chosen
            .clone()
            .unwrap_or_else(|| Normalization::identity(channels)),
    )?;
    Ok(Imported {
        graph,
        normalized: chosen.is_some(),
        notes: Vec::new(),
    })
}

fn is_onnx(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "onnx")
}

fn name_of_last(graph: &Graph) -> String {
    let last = graph.nodes.last();
    last.map(|node| node.name.clone()).unwrap_or_default()
}

/// Reads the weights of the network called `network` (see [`zoo::networks`]) from the checkpoint at
/// `path` (see [`Checkpoint::read`]). The number of classes is that of the classifier in the
/// checkpoint; `classes`, if given, has to be the same.
///
/// # Errors
/// See [`Error`]. Every tensor of the checkpoint has to be one of the network's, other than
/// BatchNorm's counters `num_batches_tracked`.
pub fn load(
    path: &Path,
    network: &str,
    classes: Option<usize>,
    normalization: Normalization,
) -> Result<Graph> {
    let network = zoo::network(network)?;
    let checkpoint = Checkpoint::read(path)?;
    load_checkpoint(&checkpoint, network, classes, normalization)
}

/// [`load`] for a checkpoint that has been read already.
///
/// # Errors
/// As [`load`].
pub fn load_checkpoint(
    checkpoint: &Checkpoint,
    network: &Network,
    classes: Option<usize>,
    normalization: Normalization,
) -> Result<Graph> {
    let mut reader = Reader::new(checkpoint);
    let classes = agree_on_classes(&reader, network, classes)?;
    let graph = network.build(&mut reader, classes, normalization)?;
    reader.finish(network)?;
    infer_shapes(&graph)?;
    Ok(graph)
}

/// The flag's number of classes if the checkpoint has the same or does not say.
fn agree_on_classes(reader: &Reader<'_>, network: &Network, asked: Option<usize>) -> Result<usize> {
    let tensor = network.classifier_weight(reader);
    let found = reader
        .checkpoint
        .shape(&tensor)
        .and_then(|shape| shape.first())
        .copied();
    match (asked, found) {
        (Some(asked), Some(found)) if asked != found => Err(Error::Classes {
            path: reader.checkpoint.path().to_owned(),
            tensor,
            asked,
            found,
        }),
        (asked, found) => Ok(found.or(asked).unwrap_or(1)),
    }
}

/// Hands out a checkpoint's tensors and keeps count. A tensor that cannot be had does not end the
/// reading, so that the message can say how much of the network there is.
struct Reader<'a> {
    checkpoint: &'a Checkpoint,
    used: Vec<String>,
    missing: Vec<(String, Vec<usize>)>,
    problem: Option<Error>,
    needed: usize,
}

impl<'a> Reader<'a> {
    fn new(checkpoint: &'a Checkpoint) -> Self {
        Self {
            checkpoint,
            used: Vec::new(),
            missing: Vec::new(),
            problem: None,
            needed: 0,
        }
    }

    /// Names that the network did not ask for.
    fn unused(&self) -> Vec<&'a str> {
        let counters = |name: &&str| !name.ends_with("num_batches_tracked");
        let all = self.checkpoint.names().filter(counters);
        all.filter(|name| !self.used.iter().any(|used| used == name))
            .collect()
    }

    /// Whether checkpoint and network match, tensor for tensor.
    fn finish(self, network: &Network) -> Result<()> {
        let unused = self.unused();
        let path = || self.checkpoint.path().to_owned();
        if let Some((tensor, expected)) = self.missing.first() {
            return Err(Error::Missing(Box::new(Found {
                path: path(),
                network: network.name,
                tensor: tensor.clone(),
                expected: expected.clone(),
                present: self.needed - self.missing.len(),
                needed: self.needed,
                nearest: names::nearest(tensor, &unused),
                hint: hint(self.checkpoint),
            })));
        }
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        match unused.first() {
            Some(example) => Err(Error::Unused {
                path: path(),
                network: network.name,
                count: unused.len(),
                example: (*example).to_owned(),
                hint: hint(self.checkpoint),
            }),
            None => Ok(()),
        }
    }
}

impl Parameters for Reader<'_> {
    fn contains(&self, name: &str) -> bool {
        self.checkpoint.shape(name).is_some()
    }

    fn get(&mut self, name: &str, shape: &[usize]) -> candle_core::Result<Tensor> {
        self.needed += 1;
        match self.checkpoint.tensor(name, shape) {
            Ok(tensor) => {
                self.used.push(name.to_owned());
                return Ok(tensor);
            }
            Err(_) if !self.contains(name) => self.missing.push((name.to_owned(), shape.to_vec())),
            Err(error) => {
                self.used.push(name.to_owned());
                self.problem.get_or_insert(error);
            }
        }
        // Without memory of its own: whoever tries network after network asks for many.
        Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as(shape)
    }
}

/// The network that has exactly the tensors of the checkpoint, if it is one.
fn recognize(checkpoint: &Checkpoint) -> Option<&'static Network> {
    let fits = |network: &&Network| {
        let mut reader = Reader::new(checkpoint);
        let classes = agree_on_classes(&reader, network, None).unwrap_or(1);
        let normalization = Normalization {
            mean: vec![],
            std: vec![],
        };
        let built = network.build(&mut reader, classes, normalization);
        built.is_ok() && reader.finish_quietly()
    };
    zoo::networks().iter().find(fits)
}

/// What the checkpoint is, if that can be told.
fn hint(checkpoint: &Checkpoint) -> Hint {
    if let Some(network) = recognize(checkpoint) {
        Hint::WeightsOf(network.name)
    } else if checkpoint.names().any(|name| name.ends_with("running_var")) {
        Hint::None
    } else {
        Hint::NoStatistics
    }
}

impl Reader<'_> {
    fn finish_quietly(&self) -> bool {
        self.missing.is_empty() && self.problem.is_none() && self.unused().is_empty()
    }
}
