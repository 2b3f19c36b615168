//! Numpy's files: `.npy`, one array, and `.npz`, a ZIP archive of named arrays.

use std::io::{Cursor, Read};
use std::path::Path;

use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use super::{Dataset, Error, decode};

const MAGIC: &[u8] = b"\x93NUMPY";
/// Names under which archives have images and labels.
const IMAGES: [&str; 6] = ["x_test", "images", "x", "data", "test_images", "arr_0"];
const LABELS: [&str; 6] = ["y_test", "labels", "y", "label", "test_labels", "arr_1"];
/// Longest header that is read.
const LARGEST_HEADER: usize = 1 << 16;

/// Images `[count, height, width]`, `[count, height, width, channels]` or
/// `[count, channels, height, width]` of bytes, and one integer per image.
pub(super) fn load_pair(images: &Path, labels: &Path) -> Result<Dataset, Error> {
    let (image_bytes, label_bytes) = (fs_err::read(images)?, fs_err::read(labels)?);
    decode::npy(images, &image_bytes, &label_bytes)
}

/// The same from an archive, by the usual names.
pub(super) fn load_archive(path: &Path) -> Result<Dataset, Error> {
    decode::npz(path, &fs_err::read(path)?)
}

pub(super) fn error(path: &Path, what: String) -> Error {
    Error::Numpy {
        path: path.to_owned(),
        what,
    }
}

/// Images and labels from the content of two files.
pub(super) fn pair(images: &[u8], labels: &[u8]) -> Result<Dataset, String> {
    dataset(&Array::parse(images)?, &Array::parse(labels)?)
}

pub(super) fn archive(bytes: &[u8]) -> Result<Dataset, String> {
    let damaged = |error: zip::result::ZipError| format!("a damaged ZIP archive: {error}");
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    let mut names = Vec::new();
    for index in 0..zip.len() {
        let file = zip.by_index_raw(index).map_err(damaged)?;
        let name = file.name().map_err(damaged)?.into_owned();
        names.push(name.trim_end_matches(".npy").to_owned());
    }
    let mut member = |wanted: &[&str]| {
        let found = wanted
            .iter()
            .find_map(|wanted| names.iter().position(|name| name == wanted));
        let index = found.ok_or_else(|| {
            format!(
                "no array `{}` in it; there are {names:?}",
                wanted.join("`, `")
            )
        })?;
        let file = zip.by_index_raw(index).map_err(damaged)?;
        let start = usize::try_from(file.data_start().unwrap_or(0)).unwrap_or(usize::MAX);
        let length = usize::try_from(file.compressed_size()).unwrap_or(usize::MAX);
        let content = bytes.get(start..start.saturating_add(length));
        let content = content.ok_or("a truncated ZIP archive")?;
        match file.compression() {
            CompressionMethod::Stored => Array::parse(content),
            CompressionMethod::DEFLATE => Array::parse(&inflate(content)?),
            other => Err(format!("`{}` is compressed by {other}", names[index])),
        }
    };
    dataset(&member(&IMAGES)?, &member(&LABELS)?)
}

/// No more than the array's header announces is unpacked.
fn inflate(content: &[u8]) -> Result<Vec<u8>, String> {
    let mut header = Vec::new();
    let mut start = DeflateDecoder::new(content).take(LARGEST_HEADER as u64);
    start
        .read_to_end(&mut header)
        .map_err(|error| error.to_string())?;
    let header = Header::parse(&header)?;
    let total = header
        .length
        .checked_add(header.bytes()?)
        .ok_or("an array that is too large")?;
    let mut bytes = Vec::new();
    let mut all = DeflateDecoder::new(content).take(total as u64);
    all.read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// What an array is, by its header.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    /// Bytes in front of the elements.
    length: usize,
    /// Kind of the elements, `u` or `i`.
    kind: char,
    /// Bytes of an element.
    width: usize,
    shape: Vec<usize>,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        if !bytes.starts_with(MAGIC) {
            return Err("it is no array of numpy".to_owned());
        }
        let short = || "its header is truncated".to_owned();
        let (start, text) = match bytes.get(6).ok_or_else(short)? {
            1 => {
                let length: [u8; 2] = bytes
                    .get(8..10)
                    .and_then(|b| b.try_into().ok())
                    .ok_or_else(short)?;
                (10, u16::from_le_bytes(length) as usize)
            }
            _ => {
                let length: [u8; 4] = bytes
                    .get(8..12)
                    .and_then(|b| b.try_into().ok())
                    .ok_or_else(short)?;
                (12, u32::from_le_bytes(length) as usize)
            }
        };
        let end = start + text.min(LARGEST_HEADER);
        let text = bytes.get(start..end).ok_or_else(short)?;
        let text = String::from_utf8_lossy(text);
        let after = |key: &str| {
            let found = text
                .split_once(key)
                .and_then(|(_, rest)| rest.split_once(':'));
            found
                .map(|(_, value)| value.trim_start())
                .ok_or_else(|| format!("no {key} in its header"))
        };
        let descr = after("'descr'")?;
        let descr = descr
            .trim_start_matches('\'')
            .split('\'')
            .next()
            .unwrap_or("");
        let (kind, width) = match descr.split_at_checked(2) {
            Some(("|u" | "<u", width)) => ('u', width),
            Some(("|i" | "<i", width)) => ('i', width),
            _ => return Err(format!("elements of type `{descr}`; integers expected")),
        };
        let width = width
            .parse()
            .ok()
            .filter(|width| [1, 2, 4, 8].contains(width));
        let width = width.ok_or_else(|| format!("elements of type `{descr}`"))?;
        if !after("'fortran_order'")?.starts_with("False") {
            return Err(
                "its elements are in Fortran's order; save np.ascontiguousarray(...)".to_owned(),
            );
        }
        let shape = after("'shape'")?;
        let shape = shape
            .trim_start_matches('(')
            .split(')')
            .next()
            .unwrap_or("");
        let sizes = shape
            .split(',')
            .map(str::trim)
            .filter(|size| !size.is_empty());
        let sizes: Option<Vec<usize>> = sizes.map(|size| size.parse().ok()).collect();
        let shape = sizes.ok_or_else(|| format!("the shape ({shape})"))?;
        Ok(Self {
            length: end,
            kind,
            width,
            shape,
        })
    }

    fn bytes(&self) -> Result<usize, String> {
        let size = |bytes: usize, &size: &usize| bytes.checked_mul(size);
        let bytes = self.shape.iter().try_fold(self.width, size);
        bytes.ok_or_else(|| format!("the shape {:?}, which is too large", self.shape))
    }
}

#[derive(Debug)]
struct Array {
    header: Header,
    content: Vec<u8>,
}

impl Array {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let header = Header::parse(bytes)?;
        let content = bytes.get(header.length..).unwrap_or_default();
        let expected = header.bytes()?;
        if content.len() != expected {
            return Err(format!(
                "{} bytes of elements; {expected} expected for the shape {:?}",
                content.len(),
                header.shape
            ));
        }
        Ok(Self {
            content: content.to_vec(),
            header,
        })
    }

    fn labels(&self) -> Result<Vec<u16>, String> {
        let label = |(index, bytes): (usize, &[u8])| {
            let mut full = [0; 8];
            full[..bytes.len()].copy_from_slice(bytes);
            let value = u64::from_le_bytes(full);
            u16::try_from(value).map_err(|_| format!("label {index} is {value}, beyond 65535"))
        };
        let elements = self.content.chunks_exact(self.header.width);
        elements.enumerate().map(label).collect()
    }
}

fn dataset(images: &Array, labels: &Array) -> Result<Dataset, String> {
    let header = &images.header;
    if (header.kind, header.width) != ('u', 1) {
        return Err("images have to be of type uint8, from 0 to 255".to_owned());
    }
    let (shape, planes) = match header.shape[..] {
        [_, height, width] => ([height, width, 1], false),
        [_, channels @ (1 | 3), height, width] if width > 4 => ([height, width, channels], true),
        [_, height, width, channels] => ([height, width, channels], false),
        _ => return Err(format!("images of shape {:?}", header.shape)),
    };
    let count = header.shape[0];
    let labels_shape = &labels.header.shape;
    if labels_shape.iter().product::<usize>() != count || labels_shape.first() != Some(&count) {
        return Err(format!(
            "{count} images, but labels of shape {labels_shape:?}"
        ));
    }
    let labels = labels.labels()?;
    let pixels = if planes && shape[2] > 1 {
        channels_last(&images.content, shape)
    } else {
        images.content.clone()
    };
    Ok(Dataset {
        name: "numpy".to_owned(),
        shape,
        classes: labels.iter().max().map_or(0, |&last| usize::from(last) + 1),
        pixels,
        labels,
    })
}

fn channels_last(planes: &[u8], [height, width, channels]: [usize; 3]) -> Vec<u8> {
    let area = height * width;
    let images = planes.chunks_exact((area * channels).max(1));
    let pixel = |image: &[u8], index: usize| image[index % channels * area + index / channels];
    images
        .flat_map(|image| (0..image.len()).map(move |index| pixel(image, index)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use proptest::prelude::*;

    use super::*;

    fn npy(descr: &str, shape: &str, content: &[u8]) -> Vec<u8> {
        let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = [MAGIC, &[1, 0]].concat();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend(content);
        bytes
    }

    #[test]
    fn images_of_all_layouts_become_channels_last() {
        let labels = npy(
            "<i8",
            "(2,)",
            &[1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0],
        );
        let grey = pair(&npy("|u1", "(2, 1, 2)", &[1, 2, 3, 4]), &labels).unwrap();
        assert_eq!((grey.shape, grey.classes), ([1, 2, 1], 6));
        assert_eq!(
            (grey.image(1), &grey.labels[..]),
            (&[3, 4][..], &[1, 5][..])
        );
        let planes: Vec<u8> = (0..30).collect();
        let colour = pair(&npy("|u1", "(2, 3, 1, 5)", &planes), &labels).unwrap();
        assert_eq!(colour.shape, [1, 5, 3]);
        assert_eq!(colour.image(0)[..6], [0, 5, 10, 1, 6, 11]);
        let last = pair(&npy("|u1", "(2, 1, 5, 3)", &planes), &labels).unwrap();
        assert_eq!(last.image(0)[..3], [0, 1, 2]);
    }

    /// An archive whose members are compressed, as the ZIP library here only stores.
    fn archive_of(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let (mut bytes, mut directory) = (Vec::new(), Vec::new());
        for (name, content) in members {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(content).unwrap();
            let packed = encoder.finish().unwrap();
            let offset = bytes.len() as u32;
            let mut common = vec![20, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            common.extend((packed.len() as u32).to_le_bytes());
            common.extend((content.len() as u32).to_le_bytes());
            common.extend((name.len() as u16).to_le_bytes());
            common.extend([0, 0]);
            bytes.extend([b"PK\x03\x04", &common[..], name.as_bytes(), &packed].concat());
            directory.extend([b"PK\x01\x02\x14\x00", &common[..], &[0; 10]].concat());
            directory.extend(offset.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let start = bytes.len() as u32;
        bytes.extend(&directory);
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend([members.len() as u8, 0, members.len() as u8, 0]);
        bytes.extend((directory.len() as u32).to_le_bytes());
        bytes.extend(start.to_le_bytes());
        bytes.extend([0, 0]);
        bytes
    }

    #[test]
    fn archives_are_unpacked() {
        let images = npy("|u1", "(1, 2, 2)", &[1, 2, 3, 4]);
        let labels = npy("|u1", "(1,)", &[7]);
        let whole = archive_of(&[("images.npy", images.clone()), ("labels.npy", labels)]);
        let data = archive(&whole).unwrap();
        assert_eq!((data.pixels, data.labels), (vec![1, 2, 3, 4], vec![7]));
        let error = archive(&archive_of(&[("other.npy", images)])).unwrap_err();
        assert!(
            error.contains("`x_test`") && error.contains("other"),
            "{error}"
        );
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let labels = npy("|u1", "(1,)", &[0]);
        for (images, what) in [
            (npy("<f4", "(1, 1, 1)", &[0; 4]), "`<f4`; integers expected"),
            (npy("<u2", "(1, 1, 1)", &[0; 2]), "uint8"),
            (
                npy("|u1", "(2, 1, 1)", &[0; 2]),
                "2 images, but labels of shape [1]",
            ),
            (
                npy("|u1", "(1, 2, 2)", &[0; 3]),
                "3 bytes of elements; 4 expected",
            ),
            (npy("|u1", "(99999999999, 99999999999)", &[]), "too large"),
            (b"PK".to_vec(), "no array of numpy"),
        ] {
            let error = pair(&images, &labels).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
    }

    proptest! {
        #[test]
        fn damaged_files_give_errors(
            cut in 0usize..1000,
            flips in prop::collection::vec((0usize..1000, 0u8..8), 0..4),
        ) {
            let images = npy("|u1", "(1, 2, 2)", &[1, 2, 3, 4]);
            let mut bytes = archive_of(&[("x.npy", images), ("y.npy", npy("|u1", "(1,)", &[7]))]);
            for (place, bit) in flips {
                let place = place % bytes.len();
                bytes[place] ^= 1 << bit;
            }
            bytes.truncate(if cut < 500 { bytes.len() } else { cut % bytes.len() });
            let _ = archive(&bytes);
            let _ = Array::parse(&bytes);
        }
    }
}
