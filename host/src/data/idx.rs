//! IDX, the format of MNIST: big-endian dimensions, then one byte per element. Images are
//! `[count, height, width]` or `[count, height, width, channels]`.

use std::path::Path;

use super::{Dataset, Error};

/// An IDX file of bytes.
struct Array {
    dimensions: Vec<usize>,
    bytes: Vec<u8>,
}

pub(super) fn load(images: &Path, labels: &Path) -> Result<Dataset, Error> {
    let image_array = read(images, &[3, 4])?;
    let label_array = read(labels, &[1])?;
    let count = image_array.dimensions[0];
    if label_array.dimensions[0] != count {
        return Err(Error::Idx {
            path: labels.to_owned(),
            offset: 4,
            expected: format!("{count} labels, one per image of `{}`,", images.display()),
            found: label_array.dimensions[0].to_string(),
        });
    }
    let channels = image_array.dimensions.get(3).copied().unwrap_or(1);
    let labels = label_array
        .bytes
        .iter()
        .map(|&label| u16::from(label))
        .collect::<Vec<_>>();
    let classes = labels.iter().max().map_or(0, |&last| usize::from(last) + 1);
    Ok(Dataset {
        name: "idx".to_owned(),
        shape: [
            image_array.dimensions[1],
            image_array.dimensions[2],
            channels,
        ],
        classes,
        pixels: image_array.bytes,
        labels,
    })
}

fn read(path: &Path, ranks: &[usize]) -> Result<Array, Error> {
    let bytes = fs_err::read(path)?;
    let error = |offset: usize, expected: String, found: String| Error::Idx {
        path: path.to_owned(),
        offset,
        expected,
        found,
    };
    let word = |offset: usize| -> Result<usize, Error> {
        let bytes = bytes
            .get(offset..offset + 4)
            .and_then(|word| word.try_into().ok());
        let word = bytes.map(u32::from_be_bytes);
        word.map(|word| word as usize)
            .ok_or_else(|| error(offset, "4 more bytes of header".into(), "the end".into()))
    };
    let magic = word(0)?;
    let rank = magic & 0xff;
    if magic >> 8 != 8 || !ranks.contains(&rank) {
        let hint = if magic >> 16 == 0x1f8b {
            " (a gzip file: unpack it first)"
        } else {
            ""
        };
        let expected = format!("the IDX magic of bytes of rank {ranks:?}");
        return Err(error(0, expected, format!("0x{magic:08x}{hint}")));
    }
    let dimensions = (1..=rank)
        .map(|index| word(4 * index))
        .collect::<Result<Vec<_>, _>>()?;
    let header = 4 * (rank + 1);
    let size = dimensions
        .iter()
        .try_fold(1usize, |size, &length| size.checked_mul(length));
    match size {
        Some(size) if size > 0 && bytes.len() - header == size => Ok(Array {
            dimensions,
            bytes: bytes[header..].to_vec(),
        }),
        _ => Err(error(
            header,
            format!("{dimensions:?} elements of one byte"),
            format!("{} bytes", bytes.len() - header),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(magic: u32, dimensions: &[u32], content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let words = [magic].into_iter().chain(dimensions.iter().copied());
        let mut bytes = words.flat_map(u32::to_be_bytes).collect::<Vec<_>>();
        bytes.extend_from_slice(content);
        fs_err::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn grey_images_have_one_channel() {
        let images = file(0x803, &[2, 2, 3], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        let labels = file(0x801, &[2], &[4, 1]);
        let data = load(images.path(), labels.path()).unwrap();
        assert_eq!((data.shape, data.classes), ([2, 3, 1], 5));
        assert_eq!(data.image(1), [6, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let labels = file(0x801, &[2], &[4, 1]);
        let cases = [
            (file(0x803, &[2, 2, 3], &[0; 11]), "11 bytes"),
            (file(0x801, &[2], &[0; 2]), "0x00000801"),
            (file(0x1f8b_0803, &[0], &[]), "gzip"),
            (file(0x803, &[2], &[]), "the end"),
            (
                file(0x803, &[u32::MAX, u32::MAX, u32::MAX], &[0]),
                "1 bytes",
            ),
            (file(0x803, &[3, 1, 1], &[0; 3]), "3 labels"),
        ];
        for (images, expected) in cases {
            let message = load(images.path(), labels.path()).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
