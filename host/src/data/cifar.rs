//! CIFAR-10 and CIFAR-100. Their binary format: label bytes, then the red, green and blue planes of a
//! 32 x 32 image, row by row.

use std::path::Path;

use super::{Dataset, Error, python};

const SIDE: usize = 32;
const CHANNELS: usize = 3;
const PIXELS: usize = SIDE * SIDE;

/// What tells the two data sets apart.
pub(super) struct Variant {
    name: &'static str,
    classes: usize,
    /// Numbers of label bytes that a record may have; the class is the last of them.
    label_bytes: &'static [usize],
}

pub(super) const CIFAR10: Variant = Variant {
    name: "CIFAR-10",
    classes: 10,
    label_bytes: &[1],
};
/// The official files have a coarse label in front of the fine one, others only the fine one.
pub(super) const CIFAR100: Variant = Variant {
    name: "CIFAR-100",
    classes: 100,
    label_bytes: &[2, 1],
};

pub(super) fn load(path: &Path, variant: &Variant) -> Result<Dataset, Error> {
    decode(path, &fs_err::read(path)?, variant)
}

/// [`load`] for the content of a file.
pub(super) fn decode(path: &Path, bytes: &[u8], variant: &Variant) -> Result<Dataset, Error> {
    if python::is_pickle(bytes) {
        return load_python(path, bytes, variant);
    }
    let label_bytes = label_bytes(path, variant, bytes.len())?;
    let record_bytes = label_bytes + PIXELS * CHANNELS;
    let mut labels = Vec::with_capacity(bytes.len() / record_bytes);
    let mut pixels = Vec::with_capacity(bytes.len());
    for (index, record) in bytes.chunks_exact(record_bytes).enumerate() {
        let (label, planes) = record.split_at(label_bytes);
        let label = label[label_bytes - 1];
        if usize::from(label) >= variant.classes {
            return Err(Error::Label {
                path: path.to_owned(),
                record: index,
                offset: index * record_bytes + label_bytes - 1,
                label,
                last: variant.classes - 1,
            });
        }
        labels.push(u16::from(label));
        interleave(planes, &mut pixels);
    }
    let shape = [SIDE, SIDE, CHANNELS];
    Ok(Dataset {
        name: variant.name.to_owned(),
        shape,
        classes: variant.classes,
        pixels,
        labels,
    })
}

fn load_python(path: &Path, bytes: &[u8], variant: &Variant) -> Result<Dataset, Error> {
    let batch = python::read(path, bytes, PIXELS * CHANNELS, variant.classes)?;
    let mut pixels = Vec::with_capacity(batch.pixels.len());
    for planes in batch.pixels.chunks_exact(PIXELS * CHANNELS) {
        interleave(planes, &mut pixels);
    }
    Ok(Dataset {
        name: variant.name.to_owned(),
        shape: [SIDE, SIDE, CHANNELS],
        classes: variant.classes,
        pixels,
        labels: batch.labels,
    })
}

fn label_bytes(path: &Path, variant: &Variant, bytes: usize) -> Result<usize, Error> {
    let fits = |labels: &&usize| bytes > 0 && bytes.is_multiple_of(**labels + PIXELS * CHANNELS);
    variant
        .label_bytes
        .iter()
        .find(fits)
        .copied()
        .ok_or_else(|| Error::Size {
            path: path.to_owned(),
            bytes,
            record: variant
                .label_bytes
                .iter()
                .map(|labels| (labels + PIXELS * CHANNELS).to_string())
                .collect::<Vec<_>>()
                .join(" or "),
            format: variant.name,
        })
}

/// Planes to channels last.
fn interleave(planes: &[u8], pixels: &mut Vec<u8>) {
    for position in 0..PIXELS {
        pixels.extend((0..CHANNELS).map(|channel| planes[channel * PIXELS + position]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), content).unwrap();
        file
    }

    fn record(labels: &[u8]) -> Vec<u8> {
        let planes = [10u8, 20, 30].into_iter().flat_map(|value| [value; PIXELS]);
        labels.iter().copied().chain(planes).collect()
    }

    #[test]
    fn planes_become_channels_last() {
        let mut content = record(&[7]);
        content[1 + 5] = 99;
        let data = load(file(&content).path(), &CIFAR10).unwrap();
        assert_eq!((data.len(), data.labels[0]), (1, 7));
        assert_eq!(data.image(0)[15..18], [99, 20, 30]);
    }

    #[test]
    fn fine_label_is_the_class_with_and_without_a_coarse_one() {
        let with_coarse = load(file(&record(&[3, 88])).path(), &CIFAR100).unwrap();
        let fine_only = load(file(&record(&[88])).path(), &CIFAR100).unwrap();
        assert_eq!((with_coarse.labels[0], fine_only.labels[0]), (88, 88));
    }

    #[test]
    fn truncated_and_empty_files_name_both_sizes() {
        for content in [&record(&[1])[..3072], &[]] {
            let message = load(file(content).path(), &CIFAR10)
                .unwrap_err()
                .to_string();
            assert!(message.contains(&content.len().to_string()), "{message}");
            assert!(message.contains("3073"), "{message}");
        }
    }

    #[test]
    fn label_out_of_range_names_record_and_offset() {
        let content = [record(&[9]), record(&[10])].concat();
        let message = load(file(&content).path(), &CIFAR10)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("record 1 at offset 3073 has label 10"),
            "{message}"
        );
    }
}
