//! PyTorch's files: what `torch.save` writes now (a ZIP archive) and wrote before version 1.6. No
//! code in them is run; see [`crate::pickle`].

mod storages;
mod tensors;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use crate::graph::tensor_file::{self, Source};
use crate::pickle::{Id, Object, Pickle};
use storages::Storages;
use tensors::{Record, record};

/// Names under which training scripts keep the weights, in the order in which they are looked for.
const KEYS: [&str; 8] = [
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "weights",
    "params",
    "state",
];

/// Why a file of PyTorch cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read; the message names it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A damaged file, or one of another kind.
    #[error("`{path}` is no checkpoint of PyTorch: {what}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Something else than named tensors.
    #[error(
        "`{path}` holds {found}; save only the weights: torch.save(model.state_dict(), \"net.pth\")"
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// A tensor that cannot be read.
    #[error("`{path}`: tensor `{tensor}`: {what}")]
    Tensor {
        /// The file.
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// What is wrong.
        what: String,
    },
}

/// A file of named tensors. Each is read when it is asked for, so that their bytes are never in
/// memory twice.
#[derive(Debug)]
pub(super) struct TorchFile {
    path: PathBuf,
    storages: Storages,
    records: BTreeMap<String, Record>,
}

impl TorchFile {
    /// Finds the tensors in the file at `path`.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let file = fs_err::File::open(path)?;
        let length = file.metadata()?.len();
        Self::open(path, Box::new(file), length)
    }

    /// [`read`](Self::read) for the content of a file that is called `path`.
    pub(super) fn decode(path: &Path, bytes: Vec<u8>) -> Result<Self, Error> {
        let length = bytes.len() as u64;
        Self::open(path, Box::new(Cursor::new(bytes)), length)
    }

    fn open(path: &Path, source: Box<dyn Source>, length: u64) -> Result<Self, Error> {
        let (pickle, storages) = storages::open(path, source, length)?;
        let content = |found| Error::Content {
            path: path.to_owned(),
            found,
        };
        let entries = weights(&pickle).map_err(content)?;
        let mut records = BTreeMap::new();
        for (name, value) in entries {
            let found = record(&pickle, value).map_err(|what| Error::Tensor {
                path: path.to_owned(),
                tensor: name.clone(),
                what,
            })?;
            records.extend(found.map(|found| (name, found)));
        }
        Ok(Self {
            path: path.to_owned(),
            storages,
            records,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.records.keys().cloned().collect()
    }

    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.records.get(name).map(|record| record.shape.as_slice())
    }

    /// Tensor `name` as `f32`, which has to be finite and of this shape.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> super::Result<Tensor> {
        let (path, tensor) = (|| self.path.clone(), || name.to_owned());
        let Some(record) = self.records.get(name) else {
            return Err(tensor_file::Error::Missing {
                path: path(),
                tensor: tensor(),
                expected: shape.to_vec(),
            }
            .into());
        };
        if record.shape != shape {
            return Err(tensor_file::Error::Shape {
                path: path(),
                tensor: tensor(),
                expected: shape.to_vec(),
                found: record.shape.clone(),
            }
            .into());
        }
        let values = record.values(&self.storages);
        let values = values.map_err(|what| Error::Tensor {
            path: path(),
            tensor: tensor(),
            what,
        })?;
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(tensor_file::Error::NotFinite {
                path: path(),
                tensor: tensor(),
                index,
                value: values[index],
            }
            .into());
        }
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu);
        Ok(tensor?)
    }
}

/// The named values of the dictionary of weights, in the file itself or one or two levels down.
fn weights(pickle: &Pickle) -> Result<Vec<(String, Id)>, String> {
    let mut dict = pickle.root();
    for _ in 0..3 {
        let Object::Dict(entries) = pickle.get(dict) else {
            break;
        };
        let is_tensor =
            |(_, value): &&(Id, Id)| matches!(record(pickle, *value), Ok(Some(_)) | Err(_));
        if entries.iter().any(|entry| is_tensor(&entry)) {
            let named = entries
                .iter()
                .filter_map(|&(name, value)| Some((pickle.text(name)?.to_owned(), value)));
            return Ok(named.collect());
        }
        let known = KEYS.iter().find_map(|key| pickle.entry(dict, key));
        let is_dict = |(_, value): &&(Id, Id)| matches!(pickle.get(*value), Object::Dict(_));
        let only = match &entries.iter().filter(is_dict).collect::<Vec<_>>()[..] {
            [(_, value)] => Some(*value),
            _ => None,
        };
        match known.or(only) {
            Some(inner) => dict = inner,
            None => break,
        }
    }
    Err(describe(pickle, dict))
}

/// What is there in place of weights, for the user.
fn describe(pickle: &Pickle, id: Id) -> String {
    match pickle.get(id) {
        Object::Dict(entries) => {
            let names = entries.iter().filter_map(|(name, _)| pickle.text(*name));
            let names: Vec<_> = names.take(8).collect();
            format!("a dictionary without tensors (its keys begin with {names:?})")
        }
        Object::Call { callable, .. } => match pickle.global(*callable) {
            Some((module, name)) => format!("an object of class `{module}.{name}`, a whole module"),
            None => "an object, a whole module".to_owned(),
        },
        _ => "no dictionary of tensors".to_owned(),
    }
}
