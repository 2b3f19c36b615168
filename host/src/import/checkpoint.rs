//! A checkpoint as named tensors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;

use super::{Error, Result};
use crate::graph::tensor_file::{self, TensorFile};

/// What data-parallel training puts in front of every name.
const PREFIX: &str = "module.";

/// The tensors of a checkpoint, called as in the network: a prefix `module.` that all names have is
/// taken off.
#[derive(Debug)]
pub struct Checkpoint {
    file: TensorFile,
    /// Name in the network to name in the file.
    names: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Reads the `.safetensors` file at `path`.
    ///
    /// # Errors
    /// [`Error::Extension`] for other kinds of files, [`Error::File`] for damaged ones.
    pub fn read(path: &Path) -> Result<Self> {
        let extension = path.extension().unwrap_or_default();
        if extension != "safetensors" {
            return Err(Error::Extension(path.to_owned()));
        }
        let file = TensorFile::read(path)?;
        let names = file.names();
        let prefixed = names.iter().all(|name| name.starts_with(PREFIX));
        let strip = |name: String| match name.strip_prefix(PREFIX) {
            Some(rest) if prefixed => (rest.to_owned(), name),
            _ => (name.clone(), name),
        };
        Ok(Self {
            names: names.into_iter().map(strip).collect(),
            file,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Names of all tensors, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Shape of tensor `name`.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.file.shape(self.names.get(name)?)
    }

    /// Tensor `name`, which has to consist of finite `f32` numbers and to have this shape.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, tensor_file::Error> {
        match self.names.get(name) {
            Some(name) => self.file.tensor(name, shape),
            None => Err(tensor_file::Error::Missing {
                path: PathBuf::from(self.path()),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
            }),
        }
    }
}
