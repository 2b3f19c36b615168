//! Named tensors with notes in text, as one file with a checksum.

use std::{collections::HashMap, path::Path};

use candle_core::{DType, Device, Tensor};
use fs_err as fs;
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

use crate::{
    dfq::{Error, Result},
    durable,
};

/// The note that holds the checksum of tensors and other notes.
const CHECKSUM: &str = "sha256";

/// Named tensors with notes in text, as one file.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    /// Tensors by name.
    pub tensors: HashMap<String, Tensor>,
    /// Notes by name.
    pub notes: HashMap<String, String>,
}

impl Archive {
    /// Writes all to `path` at once: a reader sees the old file or the new one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = safetensors::serialize(&self.tensors, None)?;
        let mut notes = self.notes.clone();
        notes.insert(CHECKSUM.to_owned(), checksum(&bytes, &self.notes)?);
        let bytes = safetensors::serialize(&self.tensors, Some(notes))?;
        Ok(durable::write(path, &bytes)?)
    }

    /// Reads what [`Archive::write`] wrote.
    ///
    /// # Errors
    /// If the file cannot be read or is no archive; [`Error::Corrupt`] if its content has changed
    /// since it was written.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path)?;
        let corrupt = |error| Error::Corrupt {
            path: path.to_owned(),
            reason: format!("{error}"),
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(corrupt)?;
        let mut notes = header.metadata().clone().unwrap_or_default();
        let expected = notes.remove(CHECKSUM);
        if expected != Some(checksum(&bytes, &notes)?) {
            return Err(Error::Corrupt {
                path: path.to_owned(),
                reason: "its checksum does not fit its content".to_owned(),
            });
        }
        Ok(Self {
            tensors: candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?,
            notes,
        })
    }

    /// Checks that all floats are finite.
    ///
    /// # Errors
    /// [`Error::NotFinite`] names the first tensor, in the order of names, with another value.
    pub fn check_finite(&self) -> Result<()> {
        let mut names: Vec<&String> = self.tensors.keys().collect();
        names.sort();
        for name in names {
            let tensor = &self.tensors[name];
            if !tensor.dtype().is_float() {
                continue;
            }
            let values = tensor
                .to_dtype(DType::F64)?
                .flatten_all()?
                .to_vec1::<f64>()?;
            if let Some(value) = values.into_iter().find(|value| !value.is_finite()) {
                let term = format!("a value of `{name}`");
                return Err(Error::NotFinite { term, value });
            }
        }
        Ok(())
    }
}

/// Hexadecimal digits over names, types, shapes and bytes of the tensors in the file `bytes`, and
/// over the notes.
fn checksum(bytes: &[u8], notes: &HashMap<String, String>) -> Result<String> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut tensors = file.tensors();
    tensors.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut notes: Vec<_> = notes.iter().collect();
    notes.sort();
    let mut digest = Sha256::new();
    for (name, tensor) in tensors {
        digest.update(format!(
            "{name}\0{:?}{:?}\0",
            tensor.dtype(),
            tensor.shape()
        ));
        digest.update(tensor.data());
    }
    for (name, text) in notes {
        digest.update(format!("{name}\0{text}\0"));
    }
    let digits = digest.finalize();
    Ok(digits.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Archive {
        let weight = Tensor::new(&[[1.0_f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        Archive {
            tensors: HashMap::from([("weight".to_owned(), weight)]),
            notes: HashMap::from([("epoch".to_owned(), "3".to_owned())]),
        }
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive.safetensors");
        archive().write(&path).unwrap();
        let read = Archive::read(&path).unwrap();
        assert_eq!(read.notes, archive().notes);
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            let same = Archive::read(&path).is_ok_and(|read| {
                let values = read.tensors["weight"].to_vec2::<f32>().unwrap();
                values == [[1.0, 2.0], [3.0, 4.0]] && read.notes == archive().notes
            });
            assert!(Archive::read(&path).is_err() || same, "byte {at}");
            fs::write(&path, &bytes[..at]).unwrap();
            assert!(Archive::read(&path).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn values_that_are_not_finite_are_named() {
        let mut archive = archive();
        archive.check_finite().unwrap();
        let broken = Tensor::new(&[0.0_f32, f32::INFINITY], &Device::Cpu).unwrap();
        archive.tensors.insert("bias".to_owned(), broken);
        let error = archive.check_finite().unwrap_err().to_string();
        assert_eq!(error, "a value of `bias` is inf");
    }
}
