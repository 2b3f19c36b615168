//! The Python archives of CIFAR: a pickled dictionary with a numpy array of pixels, plane after
//! plane as in the binary format, and a list of labels.

use std::path::Path;

use super::Error;
use crate::pickle::{Id, Object, Pickle};

/// First byte of a pickle, which no label has.
const PROTOCOL: u8 = 0x80;

/// Rows of pixels and their classes.
pub(super) struct Batch {
    pub(super) pixels: Vec<u8>,
    pub(super) labels: Vec<u16>,
}

pub(super) fn is_pickle(bytes: &[u8]) -> bool {
    bytes.first() == Some(&PROTOCOL)
}

/// The batch in the file `path` with the content `bytes`; its images have `row` bytes each.
pub(super) fn read(path: &Path, bytes: &[u8], row: usize, classes: usize) -> Result<Batch, Error> {
    let wrong = |what: String| Error::Python {
        path: path.to_owned(),
        what,
    };
    let pickle = Pickle::read(bytes).map_err(|error| wrong(error.to_string()))?;
    let entry = |names: &[&str]| {
        let found = names
            .iter()
            .find_map(|name| pickle.entry(pickle.root(), name));
        found.ok_or_else(|| wrong(format!("it has no entry `{}`", names.join("` or `"))))
    };
    let pixels = entry(&["data"])?;
    let labels = entry(&["labels", "fine_labels"])?;
    let pixels = array(&pickle, pixels)
        .ok_or_else(|| wrong("its `data` is no numpy array of bytes".to_owned()))?;
    let labels = pickle.elements(labels).unwrap_or_default().iter();
    let label = |&id: &Id| pickle.size(id).filter(|label| *label < classes);
    let labels: Option<Vec<u16>> = labels
        .map(|id| label(id).map(|label| label as u16))
        .collect();
    let labels =
        labels.ok_or_else(|| wrong(format!("labels from 0 to {} expected", classes - 1)))?;
    if labels.len().checked_mul(row) != Some(pixels.len()) || labels.is_empty() {
        return Err(wrong(format!(
            "{} labels and {} bytes of pixels, {row} for each expected",
            labels.len(),
            pixels.len()
        )));
    }
    Ok(Batch { pixels, labels })
}

/// The elements of a pickled numpy array of bytes in C order.
fn array(pickle: &Pickle, id: Id) -> Option<Vec<u8>> {
    let Object::Call {
        callable,
        state: Some(state),
        ..
    } = pickle.get(id)
    else {
        return None;
    };
    let (module, name) = pickle.global(*callable)?;
    if !module.starts_with("numpy") || name != "_reconstruct" {
        return None;
    }
    let &[_version, _shape, dtype, fortran, content] = pickle.elements(*state)? else {
        return None;
    };
    let is_bytes = match pickle.get(dtype) {
        Object::Call { arguments, .. } => {
            let kind = pickle.elements(*arguments)?.first()?;
            matches!(pickle.text(*kind), Some("u1" | "|u1"))
        }
        _ => false,
    };
    let in_order = matches!(pickle.get(fortran), Object::Bool(false) | Object::Int(0));
    (is_bytes && in_order)
        .then(|| bytes(pickle, content))
        .flatten()
}

/// Bytes, or a text that Python would encode as Latin-1.
fn bytes(pickle: &Pickle, id: Id) -> Option<Vec<u8>> {
    match pickle.get(id) {
        Object::Bytes(bytes) => Some(bytes.clone()),
        Object::Call {
            callable,
            arguments,
            ..
        } if pickle.global(*callable) == Some(("_codecs", "encode")) => {
            let text = pickle.text(*pickle.elements(*arguments)?.first()?)?;
            text.chars()
                .map(|letter| u8::try_from(letter).ok())
                .collect()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As CIFAR's files have it: a pickle of protocol 2 made by Python 2.
    fn batch(kind: &str, labels: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02K\x04\x86cnumpy\ndtype\nU".to_vec();
        bytes.push(kind.len() as u8);
        bytes.extend(kind.as_bytes());
        bytes.extend(b"K\x00K\x01\x87R(K\x03U\x01|NNNtb\x89U\x08\x01\x02\x03\x04\x05\x06\x07\xfftbU\x06labels]");
        bytes.push(b'(');
        bytes.extend(labels.iter().flat_map(|&label| [b'K', label]));
        bytes.extend(b"eu.");
        bytes
    }

    fn message(bytes: &[u8]) -> String {
        match read(Path::new("x"), bytes, 4, 10) {
            Ok(_) => panic!("an error expected"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn arrays_and_labels_are_found() {
        let bytes = batch("u1", &[9, 0]);
        assert!(is_pickle(&bytes));
        let batch = read(Path::new("x"), &bytes, 4, 10).ok().unwrap();
        assert_eq!(batch.labels, [9, 0]);
        assert_eq!(batch.pixels, [1, 2, 3, 4, 5, 6, 7, 255]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert!(message(&batch("f4", &[1, 2])).contains("no numpy array of bytes"));
        assert!(message(&batch("u1", &[1, 10])).contains("labels from 0 to 9"));
        assert!(message(&batch("u1", &[1])).contains("1 labels and 8 bytes"));
        assert!(message(b"\x80\x02}.").contains("no entry `data`"));
        assert!(message(b"\x80\x02").contains("offset 2"));
    }
}
