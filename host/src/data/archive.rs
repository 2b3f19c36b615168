//! Writes a data set as an archive of numpy.

use std::io::Write;
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::Dataset;

/// Writes `images` (`uint8`, [count, height, width, channels]) and `labels` (`uint16`, [count]) into
/// an archive that `npz:PATH` reads.
///
/// # Errors
/// When the file cannot be written.
pub fn write_archive(path: &Path, dataset: &Dataset) -> std::io::Result<()> {
    let [height, width, channels] = dataset.shape;
    let count = dataset.len();
    let labels: Vec<u8> = dataset
        .labels
        .iter()
        .flat_map(|label| label.to_le_bytes())
        .collect();
    let mut archive = ZipWriter::new(fs_err::File::create(path)?);
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let shape = format!("({count}, {height}, {width}, {channels})");
    archive.start_file("images.npy", options)?;
    archive.write_all(&header("|u1", &shape))?;
    archive.write_all(&dataset.pixels)?;
    archive.start_file("labels.npy", options)?;
    archive.write_all(&header("<u2", &format!("({count},)")))?;
    archive.write_all(&labels)?;
    archive.finish()?.flush()
}

/// Version 1.0; the elements start at a multiple of 64 bytes.
fn header(descr: &str, shape: &str) -> Vec<u8> {
    const FIXED: usize = 10;
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let padded = (FIXED + text.len() + 1).next_multiple_of(64);
    text.push_str(&" ".repeat(padded - FIXED - text.len() - 1));
    text.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Source;
    use crate::data::shapes::{Split, generate};

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shapes.npz");
        let data = generate(Split::Test, 40);
        write_archive(&path, &data).unwrap();
        let read = Source::Npz(path).load().unwrap();
        assert_eq!((read.shape, read.classes), (data.shape, data.classes));
        assert_eq!((read.pixels, read.labels), (data.pixels, data.labels));
    }
}
