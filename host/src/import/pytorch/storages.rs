//! Where in a file the numbers of each storage lie.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use zip::{CompressionMethod, ZipArchive};

use super::Error;
use crate::graph::tensor_file::Source;
use crate::pickle::{Object, Pickle};

/// First pickle of files before version 1.6: 0x1950a86a20f9469cfc6c.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const LEGACY_VERSION: i64 = 1001;
/// What a ZIP archive begins with.
const ZIP: &[u8] = b"PK\x03\x04";

/// A file and the places of storages in it by key.
#[derive(Debug)]
pub(super) struct Storages {
    source: Mutex<Box<dyn Source>>,
    length: u64,
    ranges: HashMap<String, Range<u64>>,
}

impl Storages {
    /// Where storage `key` begins, which has to have `size` bytes.
    pub(super) fn find(&self, key: &str, size: usize) -> Result<u64, String> {
        let missing = || format!("its data `{key}` is not in the file");
        let range = self.ranges.get(key).ok_or_else(missing)?;
        if range.end > self.length {
            return Err(missing());
        }
        let found = range.end - range.start;
        if found < size as u64 {
            return Err(format!(
                "its data has {found} bytes; {size} expected: the file is truncated"
            ));
        }
        Ok(range.start)
    }

    /// The `count` bytes at `place`, within what [`find`](Self::find) has found.
    pub(super) fn read(&self, place: u64, count: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; count];
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let read = source
            .seek(SeekFrom::Start(place))
            .and_then(|_| source.read_exact(&mut bytes));
        read.map_err(|error| format!("its data cannot be read: {error}"))?;
        Ok(bytes)
    }
}

/// The object in the file of `length` bytes at `path`, and its storages.
pub(super) fn open(
    path: &Path,
    mut source: Box<dyn Source>,
    length: u64,
) -> Result<(Pickle, Storages), Error> {
    let mut start = Vec::new();
    (&mut source)
        .take(ZIP.len() as u64)
        .read_to_end(&mut start)?;
    source.rewind()?;
    let contents = if start == ZIP {
        open_archive(source.as_mut())
    } else {
        open_legacy(source.as_mut(), length)
    };
    let (object, ranges) = contents.map_err(|what| Error::Format {
        path: path.to_owned(),
        what,
    })?;
    let storages = Storages {
        source: Mutex::new(source),
        length,
        ranges,
    };
    Ok((object, storages))
}

type Contents = (Pickle, HashMap<String, Range<u64>>);

fn open_archive(source: &mut dyn Source) -> Result<Contents, String> {
    let archive = |error: zip::result::ZipError| format!("a damaged ZIP archive: {error}");
    let mut zip = ZipArchive::new(&mut *source).map_err(archive)?;
    let mut ranges = HashMap::new();
    let (mut object, mut byte_order) = (None, None);
    let mut is_script = false;
    for index in 0..zip.len() {
        let file = zip.by_index_raw(index).map_err(archive)?;
        let name = file.name().map_err(archive)?.into_owned();
        let start = file.data_start().unwrap_or(0);
        let range = start..start.saturating_add(file.size());
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
        } else if inner == "byteorder" {
            byte_order = Some(range);
        } else if let Some(key) = inner.strip_prefix("data/") {
            ranges.insert(key.to_owned(), range);
        }
    }
    if let Some(range) = byte_order {
        let mut order = Vec::new();
        let read = part(source, range)?.take(4).read_to_end(&mut order);
        read.map_err(unreadable)?;
        if order == b"big" {
            return Err("its numbers are big-endian".to_owned());
        }
    }
    if is_script {
        return Err(
            "a TorchScript program; save the weights of the network that it was made from"
                .to_owned(),
        );
    }
    let object = part(source, object.ok_or("a ZIP archive without `data.pkl`")?)?;
    let pickle = Pickle::read(object).map_err(|error| error.to_string())?;
    Ok((pickle, ranges))
}

/// The bytes of a file between two places.
fn part(source: &mut dyn Source, range: Range<u64>) -> Result<impl BufRead, String> {
    let place = source.seek(SeekFrom::Start(range.start));
    place.map_err(unreadable)?;
    Ok(BufReader::new(source.take(range.end - range.start)))
}

/// Five pickles (magic number, version, system, object, keys of the storages), then for each key
/// the number of elements and the elements.
fn open_legacy(source: &mut dyn Source, length: u64) -> Result<Contents, String> {
    let mut source = BufReader::new(source);
    let mut start = 0_u64;
    let mut next = || {
        let pickle = Pickle::read(&mut source).map_err(|error| error.to_string())?;
        start += pickle.length() as u64;
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
    for key in keys {
        let size = sizes.get(&key).copied().unwrap_or(0) as u64;
        start = start.saturating_add(size_of::<u64>() as u64);
        let end = start.saturating_add(size);
        ranges.insert(key, start..end.min(length).max(start));
        start = end;
    }
    Ok((object, ranges))
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn unreadable(error: io::Error) -> String {
    format!("it cannot be read: {error}")
}
