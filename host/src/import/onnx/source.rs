//! A file as the decoder of messages reads it.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use bytes::{Buf, Bytes};
use fs_err::File;

/// What is read in place of bytes that cannot be had: no key of a message.
const ZEROS: [u8; 64] = [0; 64];

/// The bytes of a file. A field of bytes gets memory of its own, so that each can be freed alone.
///
/// A [`Buf`] cannot fail. When the file does, the rest of it reads as zeros, and
/// [`check`](Self::check) says so.
pub(super) struct Source {
    reader: BufReader<File>,
    left: usize,
    failure: Option<io::Error>,
}

impl Source {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let left = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut source = Self {
            reader: BufReader::new(file),
            left,
            failure: None,
        };
        source.fill();
        source.check()?;
        Ok(source)
    }

    /// Why not all bytes were read.
    pub(super) fn check(&mut self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Has the reader hold a byte, if there are any left.
    fn fill(&mut self) {
        if self.left > 0 && self.failure.is_none() {
            let filled = self.reader.fill_buf().and_then(|bytes| match bytes {
                [] => Err(ErrorKind::UnexpectedEof.into()),
                _ => Ok(()),
            });
            self.failure = filled.err();
        }
    }
}

impl Buf for Source {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        let bytes = match self.failure {
            None => self.reader.buffer(),
            Some(_) => &ZEROS,
        };
        &bytes[..bytes.len().min(self.left)]
    }

    fn advance(&mut self, count: usize) {
        let mut count = count.min(self.left);
        while count > 0 {
            let step = count.min(self.chunk().len());
            if self.failure.is_none() {
                self.reader.consume(step);
            }
            self.left -= step;
            count -= step;
            self.fill();
        }
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        let mut bytes = vec![0; count.min(self.left)];
        if self.failure.is_none() {
            self.failure = self.reader.read_exact(&mut bytes).err();
        }
        self.left -= bytes.len();
        self.fill();
        bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_order_whatever_their_length() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..100_000_u32).map(|index| (index % 251) as u8).collect();
        fs_err::write(file.path(), &bytes).unwrap();
        let mut source = Source::open(file.path()).unwrap();
        let mut place = 0;
        for length in [1, 9000, 0, 20_000, 70_000] {
            assert_eq!(source.remaining(), bytes.len() - place);
            assert_eq!(source.copy_to_bytes(length), bytes[place..][..length]);
            place += length;
            source.advance(100);
            place += 100;
            assert_eq!(source.chunk()[0], bytes[place]);
        }
        source.advance(source.remaining());
        assert_eq!(source.chunk(), [0; 0]);
        source.check().unwrap();
    }

    #[test]
    fn a_file_that_is_cut_while_it_is_read_ends_in_zeros_and_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), [1; 100_000]).unwrap();
        for read in [Buf::advance, |source: &mut Source, count| {
            drop(source.copy_to_bytes(count));
        }] {
            file.as_file().set_len(100_000).unwrap();
            let mut source = Source::open(file.path()).unwrap();
            file.as_file().set_len(50_000).unwrap();
            read(&mut source, 60_000);
            assert_eq!(source.remaining(), 40_000);
            assert_eq!(source.get_u64(), 0);
            let error = source.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        }
    }
}
