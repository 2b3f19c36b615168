//! Networks by name.

mod naming;
mod random;
mod resnet;

use candle_core::Tensor;

use crate::graph::{Graph, Normalization, Placement};

pub use random::RandomParameters;

/// Where a network's parameters come from.
pub trait Parameters {
    /// Whether there is a parameter called `name`.
    fn contains(&self, name: &str) -> bool;

    /// Parameter `name`, of exactly this shape.
    ///
    /// # Errors
    /// If it cannot be had.
    fn get(&mut self, name: &str, shape: &[usize]) -> candle_core::Result<Tensor>;
}

/// A network that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is.
    pub description: &'static str,
    /// Channels, height and width of its input.
    pub input_shape: [usize; 3],
    /// Residual blocks per stage.
    blocks: usize,
}

const fn cifar_resnet(name: &'static str, description: &'static str, blocks: usize) -> Network {
    Network {
        name,
        description,
        input_shape: [3, 32, 32],
        blocks,
    }
}

const NETWORKS: [Network; 6] = [
    cifar_resnet("resnet8", "CIFAR ResNet with 8 layers", 1),
    cifar_resnet("resnet14", "CIFAR ResNet with 14 layers", 2),
    cifar_resnet("resnet20", "CIFAR ResNet with 20 layers", 3),
    cifar_resnet("resnet32", "CIFAR ResNet with 32 layers", 5),
    cifar_resnet("resnet44", "CIFAR ResNet with 44 layers", 7),
    cifar_resnet("resnet56", "CIFAR ResNet with 56 layers", 9),
];

/// A name that no network has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown network `{name}`; the networks are {}", names())]
pub struct UnknownNetwork {
    name: String,
}

/// All networks.
#[must_use]
pub fn networks() -> &'static [Network] {
    &NETWORKS
}

/// The network called `name`.
///
/// # Errors
/// If there is none; the message lists those that there are.
pub fn network(name: &str) -> Result<&'static Network, UnknownNetwork> {
    let found = NETWORKS.iter().find(|network| network.name == name);
    found.ok_or_else(|| UnknownNetwork {
        name: name.to_owned(),
    })
}

impl Network {
    /// How pixels become its input, where all of its checkpoints agree on that.
    #[must_use]
    pub fn normalization(&self) -> Option<Normalization> {
        None
    }

    /// Builds the graph. Which kind of shortcuts it has and how its parameters are called is
    /// decided by what `parameters` contains; see [`classifier_weight`](Self::classifier_weight)
    /// for the number of classes.
    ///
    /// # Errors
    /// Those of `parameters`.
    pub fn build(
        &self,
        parameters: &mut dyn Parameters,
        classes: usize,
        normalization: Normalization,
    ) -> candle_core::Result<Graph> {
        let nodes = resnet::nodes(parameters, self.blocks, classes)?;
        Ok(Graph {
            name: self.name.to_owned(),
            input_shape: self.input_shape,
            normalization,
            classes,
            nodes,
            placement: Placement::default(),
        })
    }

    /// Name of the classifier's weight, `[classes, features]`.
    #[must_use]
    pub fn classifier_weight(&self, parameters: &dyn Parameters) -> String {
        format!("{}.weight", naming::Naming::detect(parameters).classifier())
    }
}

fn names() -> String {
    NETWORKS.map(|network| network.name).join(", ")
}
