//! Constants of an ONNX file in memory.

use std::mem::take;
use std::path::{Component, Path};

use bytes::Bytes;

use super::Refusal;
use super::schema::TensorProto;

/// Element types of the schema.
const FLOAT: i32 = 1;
const UINT8: i32 = 2;
const INT8: i32 = 3;
const INT32: i32 = 6;
const INT64: i32 = 7;
const BOOL: i32 = 9;
const FLOAT16: i32 = 10;
const DOUBLE: i32 = 11;
const BFLOAT16: i32 = 16;
/// `data_location` of tensors whose data is in another file.
const EXTERNAL: i32 = 1;

/// A constant: row major, all kinds of floats as `f32`, all kinds of integers as `i64`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Array {
    pub(super) dims: Vec<usize>,
    pub(super) data: Data,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    Float(Vec<f32>),
    Int(Vec<i64>),
}

impl Data {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Float(values) => values.len(),
            Self::Int(values) => values.len(),
        }
    }

    /// The elements at `indices`, which have to be within bounds.
    pub(super) fn pick(&self, indices: impl Iterator<Item = usize>) -> Self {
        match self {
            Self::Float(values) => Self::Float(indices.map(|index| values[index]).collect()),
            Self::Int(values) => Self::Int(indices.map(|index| values[index]).collect()),
        }
    }
}

impl Array {
    pub(super) fn integers(values: Vec<i64>) -> Self {
        Self {
            dims: vec![values.len()],
            data: Data::Int(values),
        }
    }

    /// Decodes a constant; data in other files are looked for in `folder`.
    pub(super) fn decode(mut tensor: TensorProto, folder: Option<&Path>) -> Result<Self, Refusal> {
        let dims = sizes(&tensor.dims)?;
        let count = elements(&dims)?;
        let raw = match external_data(&tensor, folder)? {
            Some(external) => external,
            None => take(&mut tensor.raw_data),
        };
        let data = match tensor.data_type {
            FLOAT if raw.is_empty() => Data::Float(tensor.float_data),
            FLOAT => Data::Float(numbers(&raw, f32::from_le_bytes)),
            DOUBLE if raw.is_empty() => Data::Float(as_f32(&tensor.double_data)),
            DOUBLE => Data::Float(numbers(&raw, |bytes| f64::from_le_bytes(bytes) as f32)),
            FLOAT16 if raw.is_empty() => Data::Float(halves(&tensor, half::f16::from_bits)),
            FLOAT16 => Data::Float(numbers(&raw, |bytes| {
                half::f16::from_le_bytes(bytes).into()
            })),
            BFLOAT16 if raw.is_empty() => Data::Float(halves(&tensor, half::bf16::from_bits)),
            BFLOAT16 => Data::Float(numbers(&raw, |bytes| {
                half::bf16::from_le_bytes(bytes).into()
            })),
            INT64 if raw.is_empty() => Data::Int(tensor.int64_data),
            INT64 => Data::Int(numbers(&raw, i64::from_le_bytes)),
            INT32 if !raw.is_empty() => Data::Int(numbers(&raw, |x| i32::from_le_bytes(x).into())),
            INT8 if !raw.is_empty() => Data::Int(numbers(&raw, |x| i8::from_le_bytes(x).into())),
            UINT8 | BOOL if !raw.is_empty() => Data::Int(numbers(&raw, |[x]: [u8; 1]| x.into())),
            INT32 | INT8 | UINT8 | BOOL => {
                Data::Int(tensor.int32_data.iter().map(|&x| x.into()).collect())
            }
            other => return Err(Refusal::new(format!("elements of type {other}"))),
        };
        if data.len() == count {
            return Ok(Self { dims, data });
        }
        Err(Refusal::new(format!(
            "{} elements, where its shape {dims:?} asks for {count}",
            data.len()
        )))
    }

    /// As floats.
    pub(super) fn floats(self) -> Vec<f32> {
        match self.data {
            Data::Float(values) => values,
            Data::Int(values) => values.into_iter().map(|value| value as f32).collect(),
        }
    }

    /// As integers, if it has them.
    pub(super) fn ints(&self) -> Result<&[i64], Refusal> {
        match &self.data {
            Data::Int(values) => Ok(values),
            Data::Float(_) => Err(Refusal::new("integers expected, found floats")),
        }
    }
}

/// Sizes that are not negative.
pub(super) fn sizes(dims: &[i64]) -> Result<Vec<usize>, Refusal> {
    let sizes = dims.iter().map(|&size| usize::try_from(size).ok());
    let sizes: Option<Vec<usize>> = sizes.collect();
    sizes.ok_or_else(|| Refusal::new(format!("the shape {dims:?}")))
}

/// Number of elements.
pub(super) fn elements(dims: &[usize]) -> Result<usize, Refusal> {
    let count = dims
        .iter()
        .try_fold(1usize, |count, &size| count.checked_mul(size));
    count.ok_or_else(|| Refusal::new(format!("the shape {dims:?}, which is too large")))
}

fn numbers<const N: usize, T>(bytes: &[u8], decode: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (numbers, _) = bytes.as_chunks::<N>();
    numbers.iter().map(|&bytes| decode(bytes)).collect()
}

fn as_f32(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

fn halves<T: Into<f32>>(tensor: &TensorProto, decode: impl Fn(u16) -> T) -> Vec<f32> {
    let bits = tensor.int32_data.iter();
    bits.map(|&bits| decode(bits as u16).into()).collect()
}

/// The part of another file that holds the data, if they are there. Only files within `folder` are
/// read.
fn external_data(tensor: &TensorProto, folder: Option<&Path>) -> Result<Option<Bytes>, Refusal> {
    if tensor.data_location != EXTERNAL {
        return Ok(None);
    }
    let entry = |key: &str| {
        let found = tensor.external_data.iter().find(|entry| entry.key == key);
        found.map(|entry| entry.value.as_str())
    };
    let number = |key: &str| match entry(key).map(str::parse::<u64>) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => Err(Refusal::new(format!(
            "external data without a valid `{key}`"
        ))),
    };
    let location = Path::new(entry("location").unwrap_or(""));
    let inside = location
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let (Some(folder), true) = (folder, inside && location.file_name().is_some()) else {
        let what = format!(
            "data in `{}`, outside the file's folder",
            location.display()
        );
        return Err(Refusal::new(what));
    };
    let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
    let bytes = read_range(&folder.join(location), offset, length);
    let bytes = bytes.map_err(|error| Refusal::new(format!("external data: {error}")))?;
    Ok(Some(bytes.into()))
}

fn read_range(path: &Path, offset: u64, length: Option<u64>) -> std::io::Result<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = fs_err::File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(length.unwrap_or(u64::MAX))
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
