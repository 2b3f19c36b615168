//! The keyword samples of MLPerf Tiny: one label byte, then 49 frames of 10 signed bytes.

use std::path::Path;

use lowbit_runtime::mfcc::{COEFFICIENTS, FEATURES, FRAMES};

use super::{Dataset, Error};

const RECORD: usize = 1 + FEATURES;
const CLASSES: usize = LABELS.len();

/// The classes, in the order of their numbers.
pub(super) const LABELS: [&str; 12] = [
    "down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "silence", "unknown",
];

/// Images of one channel whose pixels are the signed bytes plus 128.
pub(super) fn load(path: &Path) -> Result<Dataset, Error> {
    let bytes = fs_err::read(path)?;
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        return Err(Error::Size {
            path: path.to_owned(),
            bytes: bytes.len(),
            record: RECORD.to_string(),
            format: "MLPerf Tiny's keyword samples",
        });
    }
    let mut labels = Vec::with_capacity(bytes.len() / RECORD);
    let mut pixels = Vec::with_capacity(bytes.len());
    for (index, record) in bytes.chunks_exact(RECORD).enumerate() {
        let (label, coefficients) = (record[0], &record[1..]);
        if usize::from(label) >= CLASSES {
            return Err(Error::Label {
                path: path.to_owned(),
                record: index,
                offset: index * RECORD,
                label,
                last: CLASSES - 1,
            });
        }
        labels.push(label.into());
        // A change of the sign bit adds 128 to a signed byte.
        pixels.extend(coefficients.iter().map(|byte| byte ^ 0x80));
    }
    Ok(Dataset {
        name: "kws01".to_owned(),
        shape: [FRAMES, COEFFICIENTS, 1],
        classes: CLASSES,
        pixels,
        labels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_bytes_become_pixels() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut record = vec![0x80; RECORD];
        record[0] = 11;
        record[1] = 0x7f;
        fs_err::write(file.path(), &record).unwrap();
        let data = load(file.path()).unwrap();
        assert_eq!((data.shape, data.labels[0]), ([49, 10, 1], 11));
        assert_eq!(data.image(0)[..2], [255, 0]);
        record[0] = 12;
        fs_err::write(file.path(), &record).unwrap();
        assert!(matches!(
            load(file.path()),
            Err(Error::Label { label: 12, .. })
        ));
        fs_err::write(file.path(), &record[1..]).unwrap();
        assert!(matches!(load(file.path()), Err(Error::Size { .. })));
    }
}
