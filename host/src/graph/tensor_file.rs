//! Files of named tensors: reading with errors that say where, writing that never leaves half a
//! file behind.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::io::{self, Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::durable;
use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, Metadata, SafeTensorError, TensorView};

/// Bytes of the length in front of the header.
const LENGTH_BYTES: usize = 8;
/// Bytes of a header, at most.
const LARGEST_HEADER: u64 = 100_000_000;

/// What is wrong with a file of tensors.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written; the message names it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file ends too early.
    #[error("`{path}` is truncated: {expected} bytes expected, {found} found")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its length according to its header.
        expected: u64,
        /// Its length.
        found: u64,
    },
    /// Bytes after the last tensor.
    #[error("`{path}` is too long: {expected} bytes expected, {found} found")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length according to its header.
        expected: u64,
        /// Its length.
        found: u64,
    },
    /// Not a safetensors file.
    #[error("`{path}` is not a safetensors file: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What the header lacks.
        reason: String,
    },
    /// A tensor that is not there.
    #[error("`{path}`: no tensor `{tensor}`; one of shape {expected:?} expected")]
    Missing {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// Shape that it should have.
        expected: Vec<usize>,
    },
    /// A tensor of another shape.
    #[error("`{path}`: tensor `{tensor}` has shape {found:?}; {expected:?} expected")]
    Shape {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// Shape that it should have.
        expected: Vec<usize>,
        /// Shape that it has.
        found: Vec<usize>,
    },
    /// A tensor of another element type.
    #[error("`{path}`: tensor `{tensor}` has elements of type {found}; F32 expected")]
    Dtype {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// Element type that it has.
        found: String,
    },
    /// A NaN or an infinity.
    #[error("`{path}`: element {index} of tensor `{tensor}` is {value}; a finite number expected")]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// Name of the tensor.
        tensor: String,
        /// Index of the first such element, in memory order.
        index: usize,
        /// The element.
        value: f32,
    },
    /// A tensor cannot be made or taken apart.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// A `.safetensors` file, its header checked against its length. Tensors are read one by one when
/// they are asked for, so that their bytes are never in memory twice.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    source: Mutex<Box<dyn Source>>,
    length: u64,
    data_start: u64,
    header: Metadata,
}

/// Where the bytes of a file come from.
pub(crate) trait Source: Read + Seek + Debug + Send {}

impl<T: Read + Seek + Debug + Send> Source for T {}

impl TensorFile {
    /// Opens the file at `path` and reads its header.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Truncated`] and [`Error::TooLong`] if its
    /// length is not the one that its header asks for, [`Error::Format`] if it has no such header.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = fs_err::File::open(path)?;
        let length = file.metadata()?.len();
        Self::open(path, Box::new(file), length)
    }

    /// [`read`](Self::read) for the content of a file that is called `path`.
    ///
    /// # Errors
    /// As [`read`](Self::read), except for [`Error::Io`].
    pub fn decode(path: &Path, bytes: Vec<u8>) -> Result<Self, Error> {
        let length = bytes.len() as u64;
        Self::open(path, Box::new(Cursor::new(bytes)), length)
    }

    fn open(path: &Path, mut source: Box<dyn Source>, length: u64) -> Result<Self, Error> {
        let bytes = read_header(path, source.as_mut(), length)?;
        let data_start = (LENGTH_BYTES + bytes.len()) as u64;
        let header = serde_json::from_slice::<Metadata>(&bytes);
        let expected = match &header {
            Ok(header) => Some(data_start.saturating_add(header.data_len() as u64)),
            Err(_) => last_offset(&bytes).and_then(|last| data_start.checked_add(last)),
        };
        check_length(path, expected, length)?;
        Ok(Self {
            path: path.to_owned(),
            source: Mutex::new(source),
            length,
            data_start,
            header: header.map_err(|error| Error::Format {
                path: path.to_owned(),
                reason: format!("its header: {error}"),
            })?,
        })
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of all tensors, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names = self.header.offset_keys();
        names.sort();
        names
    }

    /// Text that the file's metadata has under `key`.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        let texts = self.header.metadata().as_ref()?;
        texts.get(key).map(String::as_str)
    }

    /// Shape of tensor `name`.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.header.info(name).map(|info| info.shape.as_slice())
    }

    /// Tensor `name`, which has to consist of finite `f32` numbers and to have this shape.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Shape`], [`Error::Dtype`] or [`Error::NotFinite`].
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, Error> {
        let (path, tensor) = (|| self.path.clone(), || name.to_owned());
        let info = self.header.info(name).ok_or_else(|| Error::Missing {
            path: path(),
            tensor: tensor(),
            expected: shape.to_vec(),
        })?;
        if info.shape != shape {
            return Err(Error::Shape {
                path: path(),
                tensor: tensor(),
                expected: shape.to_vec(),
                found: info.shape.clone(),
            });
        }
        if info.dtype != Dtype::F32 {
            return Err(Error::Dtype {
                path: path(),
                tensor: tensor(),
                found: format!("{:?}", info.dtype),
            });
        }
        let values = self.floats(info.data_offsets)?;
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::NotFinite {
                path: path(),
                tensor: tensor(),
                index,
                value: values[index],
            });
        }
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    /// The numbers between two places in the data, which the header has been checked for.
    fn floats(&self, (start, end): (usize, usize)) -> Result<Vec<f32>, Error> {
        let mut values = vec![0.0_f32; (end - start) / size_of::<f32>()];
        let bytes = bytemuck::cast_slice_mut(&mut values);
        let place = self.data_start + start as u64;
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let read = source
            .seek(SeekFrom::Start(place))
            .and_then(|_| source.read_exact(bytes));
        read.map_err(|error| shortened(&self.path, source.as_mut(), self.length, error))?;
        for value in &mut values {
            *value = f32::from_bits(u32::from_le(value.to_bits()));
        }
        Ok(values)
    }
}

/// Writes `tensors` (converted to `f32`) and texts to `path`, which has either its old content or
/// all of the new one, whatever happens in between.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be written to.
pub fn write(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: HashMap<String, String>,
) -> Result<(), Error> {
    let mut buffers = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let tensor = tensor.to_dtype(DType::F32)?;
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        buffers.push((name, tensor.dims().to_vec(), bytes));
    }
    let refused = |error: SafeTensorError| Error::Format {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let views = buffers
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(refused)?;
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(refused)?;
    Ok(durable::write(path, &bytes)?)
}

/// The header of a file of `length` bytes, without the length in front of it.
fn read_header(path: &Path, source: &mut dyn Source, length: u64) -> Result<Vec<u8>, Error> {
    let format = |error: SafeTensorError| Error::Format {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    if length < LENGTH_BYTES as u64 {
        return Err(format(SafeTensorError::HeaderTooSmall));
    }
    let mut header_bytes = [0; LENGTH_BYTES];
    let read = source.read_exact(&mut header_bytes);
    read.map_err(|error| shortened(path, source, length, error))?;
    let header_bytes = u64::from_le_bytes(header_bytes);
    if header_bytes > LARGEST_HEADER {
        return Err(format(SafeTensorError::HeaderTooLarge));
    }
    let expected = LENGTH_BYTES as u64 + header_bytes;
    if expected > length {
        let mut first = [0];
        let is_header = source.read(&mut first)? == 1 && first == *b"{";
        check_length(path, is_header.then_some(expected), length)?;
        return Err(format(SafeTensorError::InvalidHeaderLength));
    }
    let mut header = vec![0; header_bytes as usize];
    let read = source.read_exact(&mut header);
    read.map_err(|error| shortened(path, source, length, error))?;
    Ok(header)
}

/// An error of reading: that the file is truncated, if it is no longer as long as it was.
fn shortened(path: &Path, source: &mut dyn Source, length: u64, error: io::Error) -> Error {
    if error.kind() != ErrorKind::UnexpectedEof {
        return error.into();
    }
    match source.seek(SeekFrom::End(0)) {
        Ok(found) => Error::Truncated {
            path: path.to_owned(),
            expected: length,
            found,
        },
        Err(error) => error.into(),
    }
}

/// Whether the length is the expected one, as far as that is known.
fn check_length(path: &Path, expected: Option<u64>, found: u64) -> Result<(), Error> {
    let path = path.to_owned();
    match expected {
        Some(expected) if expected > found => Err(Error::Truncated {
            path,
            expected,
            found,
        }),
        Some(expected) if expected < found => Err(Error::TooLong {
            path,
            expected,
            found,
        }),
        _ => Ok(()),
    }
}

/// Where the data of a header end that has mistakes.
fn last_offset(header: &[u8]) -> Option<u64> {
    let header: HashMap<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    let ends = header
        .values()
        .filter_map(|entry| entry.get("data_offsets")?.get(1)?.as_u64());
    Some(ends.max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(folder: &Path) -> PathBuf {
        let path = folder.join("sample.safetensors");
        let tensor = Tensor::new(&[[1.0_f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let tensors = BTreeMap::from([("a.weight".to_owned(), tensor)]);
        write(&path, &tensors, HashMap::from([("k".into(), "v".into())])).unwrap();
        path
    }

    #[test]
    fn reads_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = TensorFile::read(&sample(folder.path())).unwrap();
        assert_eq!(file.names(), ["a.weight"]);
        assert_eq!(file.metadata("k"), Some("v"));
        let tensor = file.tensor("a.weight", &[2, 2]).unwrap();
        assert_eq!(tensor.to_vec2::<f32>().unwrap(), [[1.0, 2.0], [3.0, 4.0]]);
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn every_truncation_is_an_error_with_both_lengths_where_they_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = sample(folder.path());
        let whole = fs_err::read(&path).unwrap();
        for length in 0..whole.len() {
            fs_err::write(&path, &whole[..length]).unwrap();
            let error = TensorFile::read(&path).unwrap_err();
            match error {
                Error::Truncated {
                    expected, found, ..
                } => {
                    assert_eq!(found, length as u64);
                    assert!(expected > found && expected <= whole.len() as u64);
                }
                Error::Format { .. } => assert!(length <= LENGTH_BYTES),
                other => panic!("{other}"),
            }
        }
        let mut long = whole;
        long.push(0);
        fs_err::write(&path, long).unwrap();
        assert!(matches!(
            TensorFile::read(&path),
            Err(Error::TooLong { .. })
        ));
    }

    #[test]
    fn a_file_that_is_cut_after_its_header_was_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = sample(folder.path());
        let file = TensorFile::read(&path).unwrap();
        let whole = fs_err::read(&path).unwrap();
        fs_err::write(&path, &whole[..whole.len() - 1]).unwrap();
        let error = file.tensor("a.weight", &[2, 2]).unwrap_err().to_string();
        let [expected, found] = [whole.len(), whole.len() - 1];
        let lengths = format!("truncated: {expected} bytes expected, {found} found");
        assert!(error.contains(&lengths), "{error}");
    }

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        for content in [
            &b"PK\x03\x04 some zip file, as other tools write"[..],
            &[0; 64],
            b"",
        ] {
            fs_err::write(&path, content).unwrap();
            assert!(matches!(TensorFile::read(&path), Err(Error::Format { .. })));
        }
    }
}
