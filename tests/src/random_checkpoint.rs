//! A float network with random parameters in a file, like one that somebody has trained.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Result, Tensor};
use lowbit_host::graph::{Normalization, tensor_file};
use lowbit_host::zoo::{self, Parameters, RandomParameters};

/// Random parameters, remembered by name.
struct Recorder {
    parameters: RandomParameters,
    tensors: BTreeMap<String, Tensor>,
}

impl Parameters for Recorder {
    fn contains(&self, name: &str) -> bool {
        self.parameters.contains(name)
    }

    fn get(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.parameters.get(name, shape)?;
        self.tensors.insert(name.to_owned(), tensor.clone());
        Ok(tensor)
    }
}

/// Writes a checkpoint of `network` with 10 classes for `lowbit quantize --weights`.
///
/// # Panics
/// If the network is not in the zoo or the file cannot be written.
pub fn random_checkpoint(network: &str, path: &Path) {
    let mut recorder = Recorder {
        parameters: RandomParameters::new(1),
        tensors: BTreeMap::new(),
    };
    let normalization = Normalization {
        mean: vec![0.5; 3],
        std: vec![0.25; 3],
    };
    let network = zoo::network(network).expect("is in the zoo");
    let built = network.build(&mut recorder, 10, normalization);
    built.expect("builds");
    tensor_file::write(path, &recorder.tensors, HashMap::new()).expect("is written");
}
