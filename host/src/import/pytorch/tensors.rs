//! Tensors as pickles describe them: part of a storage, with steps.

use std::collections::HashMap;
use std::ops::Range;

use crate::pickle::{Id, Object, Pickle};

use super::storages::Storages;

/// Wrappers within wrappers that are followed.
const DEEPEST: usize = 4;
/// Elements that are read at once, so that few bytes are in memory beside their numbers.
const PIECE: usize = 1 << 14;

/// A tensor within its storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    element: Element,
    key: String,
    /// Elements of the storage.
    stored: usize,
    offset: usize,
    pub(super) shape: Vec<usize>,
    strides: Vec<usize>,
}

/// Type of the elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    F64,
    F32,
    F16,
    Bf16,
    /// Integers of this many bytes, of which nothing here is made.
    Integer(usize),
}

impl Element {
    fn named(storage: &str) -> Option<Self> {
        Some(match storage {
            "DoubleStorage" => Self::F64,
            "FloatStorage" => Self::F32,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "LongStorage" => Self::Integer(8),
            "IntStorage" => Self::Integer(4),
            "ShortStorage" => Self::Integer(2),
            "CharStorage" | "ByteStorage" | "BoolStorage" => Self::Integer(1),
            _ => return None,
        })
    }

    const fn bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Integer(bytes) => bytes,
        }
    }

    /// Appends the elements in `bytes`.
    fn decode(self, bytes: &[u8], numbers: &mut Vec<f32>) -> Result<(), String> {
        match self {
            Self::F32 => append(numbers, bytes, f32::from_le_bytes),
            Self::F64 => append(numbers, bytes, |bytes| f64::from_le_bytes(bytes) as f32),
            Self::F16 => append(numbers, bytes, |bytes| {
                half::f16::from_le_bytes(bytes).into()
            }),
            Self::Bf16 => append(numbers, bytes, |bytes| {
                half::bf16::from_le_bytes(bytes).into()
            }),
            Self::Integer(bytes) => {
                return Err(format!(
                    "integers of {bytes} byte(s), where numbers are expected"
                ));
            }
        }
        Ok(())
    }
}

/// Appends numbers of `N` bytes.
fn append<const N: usize>(numbers: &mut Vec<f32>, bytes: &[u8], decode: impl Fn([u8; N]) -> f32) {
    let (elements, _) = bytes.as_chunks::<N>();
    numbers.extend(elements.iter().map(|&element| decode(element)));
}

impl Record {
    /// All elements, row major.
    pub(super) fn values(&self, storages: &Storages) -> Result<Vec<f32>, String> {
        let size = self.stored.checked_mul(self.element.bytes());
        let size = size.ok_or("its storage is too large")?;
        let place = storages.find(&self.key, size)?;
        let reach = self.reach()?;
        let numbers = self.numbers(storages, place, reach)?;
        if self.is_contiguous() {
            return Ok(numbers);
        }
        Ok(self.gather(&numbers))
    }

    /// The elements of the storage at `place` that are in `range`.
    fn numbers(
        &self,
        storages: &Storages,
        place: u64,
        range: Range<usize>,
    ) -> Result<Vec<f32>, String> {
        let mut numbers = Vec::with_capacity(range.len());
        for start in range.clone().step_by(PIECE) {
            let end = range.end.min(start + PIECE);
            let [start, end] = [start, end].map(|element| element * self.element.bytes());
            let bytes = storages.read(place + start as u64, end - start)?;
            self.element.decode(&bytes, &mut numbers)?;
        }
        Ok(numbers)
    }

    /// Whether the elements lie in the storage one after the other, row major.
    fn is_contiguous(&self) -> bool {
        let mut next = 1_usize;
        self.shape
            .iter()
            .zip(&self.strides)
            .rev()
            .all(|(&size, &stride)| {
                let expected = next;
                next = next.saturating_mul(size);
                size == 1 || stride == expected
            })
    }

    /// From the first of the storage's elements to the last, if all lie within it and are no more
    /// than it has.
    fn reach(&self) -> Result<Range<usize>, String> {
        let mut count = 1usize;
        let mut last = Some(self.offset);
        for (&size, &stride) in self.shape.iter().zip(&self.strides) {
            count = count.saturating_mul(size);
            let reach = size.saturating_sub(1).checked_mul(stride);
            last = last.and_then(|last| last.checked_add(reach?));
        }
        match last {
            _ if count == 0 => Ok(0..0),
            Some(last) if last < self.stored && count <= self.stored => Ok(self.offset..last + 1),
            _ => Err(format!(
                "shape {:?} with steps {:?} does not fit its {} stored elements; save \
                 `tensor.contiguous()`",
                self.shape, self.strides, self.stored
            )),
        }
    }

    /// The elements, row major, from those of the storage that begin with the first one.
    fn gather(&self, numbers: &[f32]) -> Vec<f32> {
        let count = (self.shape.iter()).fold(1, |count: usize, &size| count.saturating_mul(size));
        let mut position = vec![0; self.shape.len()];
        let mut index = 0;
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(numbers[index]);
            for axis in (0..self.shape.len()).rev() {
                position[axis] += 1;
                index += self.strides[axis];
                if position[axis] < self.shape[axis] {
                    break;
                }
                index -= self.strides[axis] * self.shape[axis];
                position[axis] = 0;
            }
        }
        values
    }
}

/// The tensor that `id` describes, `None` if it describes something else.
pub(super) fn record(pickle: &Pickle, id: Id) -> Result<Option<Record>, String> {
    let mut id = id;
    for _ in 0..DEEPEST {
        let Object::Call {
            callable,
            arguments,
            ..
        } = pickle.get(id)
        else {
            return Ok(None);
        };
        let arguments = pickle.elements(*arguments).unwrap_or_default();
        match (pickle.global(*callable), arguments) {
            (
                Some(("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state")),
                [inner, ..],
            ) => {
                id = *inner;
            }
            (Some(("torch._tensor", "_rebuild_from_type_v2")), [_, _, inner, ..]) => {
                return described(pickle, pickle.elements(*inner).unwrap_or_default()).map(Some);
            }
            (Some(("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor")), arguments) => {
                return described(pickle, arguments).map(Some);
            }
            (Some(("torch._utils", other)), _) if other.contains("rebuild") => {
                return Err(format!("a tensor made by `{other}`, which is no plain one"));
            }
            _ => return Ok(None),
        }
    }
    Err("wrapped too deeply".to_owned())
}

/// From the arguments storage, offset, sizes and steps.
fn described(pickle: &Pickle, arguments: &[Id]) -> Result<Record, String> {
    let &[storage, offset, shape, strides, ..] = arguments else {
        return Err("a tensor without storage, offset, sizes and steps".to_owned());
    };
    let sizes = |id: Id| {
        let elements = pickle.elements(id)?.iter();
        elements
            .map(|&size| pickle.size(size))
            .collect::<Option<Vec<_>>>()
    };
    let (Some(offset), Some(shape), Some(strides)) =
        (pickle.size(offset), sizes(shape), sizes(strides))
    else {
        return Err("sizes that are no positive integers".to_owned());
    };
    let storage = self::storage(pickle, storage)?;
    if shape.len() != strides.len() {
        return Err(format!("{} sizes and {} steps", shape.len(), strides.len()));
    }
    Ok(Record {
        element: storage.element,
        key: storage.key,
        stored: storage.count,
        offset,
        shape,
        strides,
    })
}

struct Storage {
    element: Element,
    key: String,
    count: usize,
}

/// From the tuple `("storage", class, key, device, elements, ...)`.
fn storage(pickle: &Pickle, id: Id) -> Result<Storage, String> {
    let Object::Persistent(tuple) = pickle.get(id) else {
        return Err("a tensor without storage".to_owned());
    };
    let parts = pickle.elements(*tuple).unwrap_or_default();
    let &[kind, class, key, _device, count, ..] = parts else {
        return Err("a storage without class, key and size".to_owned());
    };
    let (Some("storage"), Some((_, class)), Some(key), Some(count)) = (
        pickle.text(kind),
        pickle.global(class),
        pickle.text(key),
        pickle.size(count),
    ) else {
        return Err("a storage of another kind".to_owned());
    };
    let element = Element::named(class);
    let element = element.ok_or_else(|| format!("elements of `{class}`"))?;
    Ok(Storage {
        element,
        key: key.to_owned(),
        count,
    })
}

/// Bytes of all storages that are mentioned.
pub(super) fn storage_sizes(pickle: &Pickle) -> HashMap<String, usize> {
    let storages = pickle
        .persistent()
        .filter_map(|id| storage(pickle, id).ok());
    storages
        .map(|storage| {
            (
                storage.key,
                storage.count.saturating_mul(storage.element.bytes()),
            )
        })
        .collect()
}
