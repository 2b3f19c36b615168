//! Where in a file the numbers of each storage lie.

use std::collections::HashMap;
use std::io::Cursor;
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use crate::pickle::{Object, Pickle};

/// First pickle of files before version 1.6: 0x1950a86a20f9469cfc6c.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const LEGACY_VERSION: i64 = 1001;
/// What a ZIP archive begins with.
const ZIP: &[u8] = b"PK\x03\x04";

/// Byte ranges of storages by key.
#[derive(Debug)]
pub(super) struct Storages {
    ranges: HashMap<String, Range<usize>>,
}

impl Storages {
    /// The bytes of storage `key`, `size` of them.
    pub(super) fn bytes<'a>(
        &self,
        file: &'a [u8],
        key: &str,
        size: usize,
    ) -> Result<&'a [u8], String> {
        let missing = || format!("its data `{key}` is not in the file");
        let range = self.ranges.get(key).ok_or_else(missing)?;
        let bytes = file.get(range.clone()).ok_or_else(missing)?;
        bytes.get(..size).ok_or_else(|| {
            format!(
                "its data has {} bytes; {size} expected: the file is truncated",
                bytes.len()
            )
        })
    }
}

/// The object of a file and its storages.
pub(super) fn open(bytes: &[u8]) -> Result<(Pickle, Storages), String> {
    if bytes.starts_with(ZIP) {
        open_archive(bytes)
    } else {
        open_legacy(bytes)
    }
}

fn open_archive(bytes: &[u8]) -> Result<(Pickle, Storages), String> {
    let archive = |error: zip::result::ZipError| format!("a damaged ZIP archive: {error}");
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(archive)?;
    let mut ranges = HashMap::new();
    let mut object = None;
    let mut is_script = false;
    for index in 0..zip.len() {
        let file = zip.by_index_raw(index).map_err(archive)?;
        let name = file.name().map_err(archive)?.into_owned();
        let start = usize::try_from(file.data_start().unwrap_or(0)).unwrap_or(usize::MAX);
        let length = usize::try_from(file.size()).unwrap_or(usize::MAX);
        let range = start..start.saturating_add(length);
        let inner = name.split_once('/').map_or("", |(_, inner)| inner);
        let wanted = inner == "data.pkl" || inner.starts_with("data/");
        if wanted && file.compression() != CompressionMethod::Stored {
            return Err(format!(
                "`{name}` in it is compressed, which PyTorch does not do"
            ));
        }
        is_script |= inner.starts_with("code/");
        if inner == "data.pkl" {
            object = Some(range);
        } else if inner == "byteorder" && bytes.get(range.clone()) == Some(b"big") {
            return Err("its numbers are big-endian".to_owned());
        } else if let Some(key) = inner.strip_prefix("data/") {
            ranges.insert(key.to_owned(), range);
        }
    }
    if is_script {
        return Err(
            "a TorchScript program; save the weights of the network that it was made from"
                .to_owned(),
        );
    }
    let object = object.ok_or("a ZIP archive without `data.pkl`")?;
    let object = bytes.get(object).ok_or("a truncated ZIP archive")?;
    let pickle = Pickle::read(object).map_err(|error| error.to_string())?;
    Ok((pickle, Storages { ranges }))
}

/// Five pickles (magic number, version, system, object, keys of the storages), then for each key
/// the number of elements and the elements.
fn open_legacy(bytes: &[u8]) -> Result<(Pickle, Storages), String> {
    let mut rest = bytes;
    let mut next = || {
        let pickle = Pickle::read(rest).map_err(|error| error.to_string())?;
        rest = rest.get(pickle.length()..).unwrap_or_default();
        Ok::<_, String>(pickle)
    };
    let magic = next().map_err(|_| "neither a ZIP archive nor a pickle".to_owned())?;
    if *magic.get(magic.root()) != Object::Long(LEGACY_MAGIC.to_vec()) {
        return Err("a pickle of something else".to_owned());
    }
    let version = next()?;
    match version.get(version.root()) {
        Object::Int(LEGACY_VERSION) => {}
        other => {
            return Err(format!(
                "version {other:?} of the old format; {LEGACY_VERSION} expected"
            ));
        }
    }
    let _system = next()?;
    let (object, keys) = (next()?, next()?);
    let keys = keys
        .elements(keys.root())
        .unwrap_or_default()
        .iter()
        .map(|&key| keys.text(key).map(str::to_owned));
    let keys: Option<Vec<_>> = keys.collect();
    let keys = keys.ok_or("keys that are no texts")?;
    let sizes = super::tensors::storage_sizes(&object);
    let mut ranges = HashMap::new();
    let mut start = bytes.len() - rest.len();
    for key in keys {
        let size = sizes.get(&key).copied().unwrap_or(0);
        start = start.saturating_add(size_of::<u64>());
        let end = start.saturating_add(size);
        ranges.insert(key, start..end.min(bytes.len()).max(start));
        start = end;
    }
    Ok((object, Storages { ranges }))
}
