//! Reference figures for tests: files of tensors computed with the method's published code, from
//! `tests/golden` of this repository or, the large ones, from `golden` beside the test data.

use std::{collections::HashMap, env, path::PathBuf};

use candle_core::{DType, Device, Tensor};

use crate::{
    graph::{Graph, Normalization},
    zoo::{self, Parameters},
};

/// One file of reference figures.
pub(crate) struct Golden {
    name: String,
    tensors: HashMap<String, Tensor>,
}

impl Golden {
    /// Reads file `name` (without extension); says so and returns `None` if there is none.
    pub(crate) fn open(name: &str) -> Option<Self> {
        let file = format!("{name}.safetensors");
        let path = folders()
            .into_iter()
            .map(|folder| folder.join(&file))
            .find(|path| path.exists());
        let Some(path) = path else {
            report_skipped(&file);
            return None;
        };
        let tensors = candle_core::safetensors::load(path, &Device::Cpu).expect("a golden file");
        Some(Self {
            name: name.to_owned(),
            tensors,
        })
    }

    /// The tensor called `key`, in its own type.
    pub(crate) fn tensor(&self, key: &str) -> Tensor {
        self.tensors
            .get(key)
            .unwrap_or_else(|| panic!("{}: no tensor {key}", self.name))
            .clone()
    }

    /// Values of an `f32` tensor.
    pub(crate) fn f32(&self, key: &str) -> Vec<f32> {
        self.values(key)
    }

    /// Values of an `f64` tensor.
    pub(crate) fn f64(&self, key: &str) -> Vec<f64> {
        self.values(key)
    }

    /// Values of an `i32` tensor.
    pub(crate) fn i32(&self, key: &str) -> Vec<i32> {
        self.values(key)
    }

    /// Class numbers.
    pub(crate) fn labels(&self, key: &str) -> Vec<usize> {
        self.values::<i64>(key)
            .into_iter()
            .map(|label| usize::try_from(label).expect("a class"))
            .collect()
    }

    /// Network `name` of the zoo with the tensors whose names start with `prefix`.
    pub(crate) fn network(&self, name: &str, prefix: &str) -> Graph {
        let normalization = Normalization {
            mean: vec![0.5; 3],
            std: vec![0.25; 3],
        };
        let mut parameters = Prefixed {
            golden: self,
            prefix,
        };
        let network = zoo::network(name).expect("a network of the zoo");
        network
            .build(&mut parameters, 10, normalization)
            .expect("all parameters")
    }

    fn values<T: candle_core::WithDType>(&self, key: &str) -> Vec<T> {
        let tensor = self.tensor(key).flatten_all().expect("a tensor");
        tensor
            .to_vec1()
            .unwrap_or_else(|error| panic!("{}: {key}: {error}", self.name))
    }
}

/// Tensors under a prefix as the parameters of a network.
struct Prefixed<'a> {
    golden: &'a Golden,
    prefix: &'a str,
}

impl Parameters for Prefixed<'_> {
    fn contains(&self, name: &str) -> bool {
        let key = format!("{}{name}", self.prefix);
        self.golden.tensors.contains_key(&key)
    }

    fn get(&mut self, name: &str, shape: &[usize]) -> candle_core::Result<Tensor> {
        let tensor = self.golden.tensor(&format!("{}{name}", self.prefix));
        assert_eq!(tensor.dims(), shape, "{name}");
        Ok(tensor)
    }
}

#[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
fn report_skipped(file: &str) {
    eprintln!("skipped: {file} is not there");
}

fn folders() -> [PathBuf; 2] {
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let data =
        env::var_os("LOWBIT_DATA").map_or_else(|| repository.join("../shared/data"), PathBuf::from);
    [repository.join("tests/golden"), data.join("../golden")]
}

/// Single or double precision.
pub(crate) trait Number: Into<f64> + Copy {}

impl<T: Into<f64> + Copy> Number for T {}

/// Fails unless `|got - expected| <= atol + rtol * |expected|` for every element.
pub(crate) fn assert_close(
    what: &str,
    got: &[impl Number],
    expected: &[impl Number],
    atol: f64,
    rtol: f64,
) {
    assert_eq!(got.len(), expected.len(), "{what}: number of elements");
    for (index, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let (got, expected): (f64, f64) = (got.into(), expected.into());
        assert!(
            (got - expected).abs() <= atol + rtol * expected.abs(),
            "{what}[{index}]: got {got}, expected {expected}, off by {:e}",
            got - expected,
        );
    }
}

/// Fails unless `||got - expected|| <= rtol * ||expected||`.
pub(crate) fn assert_norm(what: &str, got: &[impl Number], expected: &[impl Number], rtol: f64) {
    let difference = norm_distance(got, expected);
    let expected = norm(expected.iter().map(|&e| e.into()));
    assert!(
        difference <= rtol * expected,
        "{what}: differs by {difference:e} of {expected:e} ({:e})",
        difference / expected
    );
}

/// `||got - expected||`.
pub(crate) fn norm_distance(got: &[impl Number], expected: &[impl Number]) -> f64 {
    assert_eq!(got.len(), expected.len(), "number of elements");
    let pairs = got.iter().zip(expected);
    norm(pairs.map(|(&g, &e)| g.into() - e.into()))
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

/// Values of an `f32` tensor, flattened.
pub(crate) fn flat(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.to_dtype(DType::F32).expect("a number");
    let tensor = tensor.flatten_all().expect("a tensor");
    tensor.to_vec1().expect("a vector")
}
