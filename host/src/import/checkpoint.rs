//! A checkpoint as named tensors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;

use super::pytorch::TorchFile;
use super::{Error, Result};
use crate::graph::tensor_file::{self, TensorFile};

/// What data-parallel training puts in front of every name.
const PREFIX: &str = "module.";

/// The tensors of a checkpoint, read one by one when they are asked for, and called as in the
/// network: a prefix `module.` that all names have is taken off.
#[derive(Debug)]
pub struct Checkpoint {
    file: File,
    /// Name in the network to name in the file.
    names: BTreeMap<String, String>,
}

#[derive(Debug)]
enum File {
    Safetensors(TensorFile),
    PyTorch(TorchFile),
}

impl File {
    fn names(&self) -> Vec<String> {
        match self {
            Self::Safetensors(file) => file.names(),
            Self::PyTorch(file) => file.names(),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Safetensors(file) => file.path(),
            Self::PyTorch(file) => file.path(),
        }
    }
}

enum Kind {
    Safetensors,
    PyTorch,
}

fn kind(path: &Path) -> Result<Kind> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension {
        Some("safetensors") => Ok(Kind::Safetensors),
        Some("pth" | "pt" | "th" | "bin") => Ok(Kind::PyTorch),
        _ => Err(Error::Extension(path.to_owned())),
    }
}

impl Checkpoint {
    /// Reads the file at `path`: `.safetensors`, or PyTorch's `.pth`, `.pt`, `.th` and `.bin`.
    ///
    /// # Errors
    /// [`Error::Extension`] for other kinds of files, [`Error::File`] and [`Error::PyTorch`] for
    /// damaged ones.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(Self::new(match kind(path)? {
            Kind::Safetensors => File::Safetensors(TensorFile::read(path)?),
            Kind::PyTorch => File::PyTorch(TorchFile::read(path)?),
        }))
    }

    /// [`read`](Self::read) for the content of a file; `path` names it and tells its kind.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn decode(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        Ok(Self::new(match kind(path)? {
            Kind::Safetensors => File::Safetensors(TensorFile::decode(path, bytes)?),
            Kind::PyTorch => File::PyTorch(TorchFile::decode(path, bytes)?),
        }))
    }

    fn new(file: File) -> Self {
        let names = file.names();
        let prefixed = names.iter().all(|name| name.starts_with(PREFIX));
        let strip = |name: String| match name.strip_prefix(PREFIX) {
            Some(rest) if prefixed => (rest.to_owned(), name),
            _ => (name.clone(), name),
        };
        Self {
            names: names.into_iter().map(strip).collect(),
            file,
        }
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
        let name = self.names.get(name)?;
        match &self.file {
            File::Safetensors(file) => file.shape(name),
            File::PyTorch(file) => file.shape(name),
        }
    }

    /// Tensor `name`, which has to consist of finite `f32` numbers and to have this shape. Other
    /// kinds of floats in a file of PyTorch are converted.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        match (self.names.get(name), &self.file) {
            (Some(name), File::Safetensors(file)) => Ok(file.tensor(name, shape)?),
            (Some(name), File::PyTorch(file)) => file.tensor(name, shape),
            (None, _) => Err(tensor_file::Error::Missing {
                path: PathBuf::from(self.path()),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
            }
            .into()),
        }
    }
}
