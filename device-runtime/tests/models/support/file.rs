//! Packed files written by hand, independently of the packer.

use lowbit_runtime::format::{
    BLOB_ALIGNMENT, Blob, CHECKSUM, Header, MAGIC, Operation, PROLOGUE_BYTES, VERSION,
};

/// A packed file under construction.
#[derive(Default)]
pub(crate) struct File {
    blobs: Vec<u8>,
}

impl File {
    pub(crate) fn push(&mut self, content: &[u8]) -> Blob {
        let offset = self.blobs.len().next_multiple_of(BLOB_ALIGNMENT);
        self.blobs.resize(offset, 0);
        self.blobs.extend_from_slice(content);
        Blob {
            offset: offset as u32,
            length: content.len() as u32,
        }
    }

    pub(crate) fn push_i16(&mut self, numbers: &[i64]) -> Blob {
        let bytes = numbers.iter().flat_map(|&n| (n as i16).to_le_bytes());
        self.push(&bytes.collect::<Vec<_>>())
    }

    pub(crate) fn push_i32(&mut self, numbers: &[i64]) -> Blob {
        let bytes = numbers.iter().flat_map(|&n| (n as i32).to_le_bytes());
        self.push(&bytes.collect::<Vec<_>>())
    }

    pub(crate) fn push_i64(&mut self, numbers: &[i64]) -> Blob {
        let bytes = numbers.iter().flat_map(|&n| n.to_le_bytes());
        self.push(&bytes.collect::<Vec<_>>())
    }

    /// Rows of codes, each one bit stream from a byte boundary on.
    pub(crate) fn push_codes(&mut self, bits: u8, rows: &[Vec<i64>]) -> Blob {
        let mut bytes = Vec::new();
        for row in rows {
            let start = bytes.len();
            bytes.resize(start + (row.len() * usize::from(bits)).div_ceil(8), 0);
            for (index, code) in row.iter().enumerate() {
                for bit in 0..usize::from(bits) {
                    let place = index * usize::from(bits) + bit;
                    bytes[start + place / 8] |= ((code >> bit & 1) as u8) << (place % 8);
                }
            }
        }
        self.push(&bytes)
    }

    /// Words with the codes of two rows each.
    pub(crate) fn push_pairs(&mut self, bits: u8, rows: &[Vec<i64>]) -> Blob {
        let mut bytes = Vec::new();
        let per_word = usize::from(16 / bits);
        for pair in rows.chunks(2) {
            for start in (0..pair[0].len()).step_by(per_word) {
                let code = |row: usize, tap: usize| match pair.get(row) {
                    Some(row) => *row.get(start + tap).unwrap_or(&1) as u32,
                    // What the rows lack must not matter.
                    None => (1 << bits) - 1,
                };
                // From the highest code down.
                let word = (0..per_word).rev().fold(0, |word, tap| {
                    (((word << bits) | code(0, tap)) << bits) | code(1, tap)
                });
                bytes.extend_from_slice(&word.to_le_bytes());
            }
        }
        self.push(&bytes)
    }

    pub(crate) fn finish(&self, header: &Header<'_>, operations: &[Operation<'_>]) -> Vec<u8> {
        let header = encode(header);
        let program: Vec<u8> = operations.iter().flat_map(encode).collect();
        let mut file = vec![0; PROLOGUE_BYTES];
        file.extend_from_slice(&header);
        file.extend_from_slice(&program);
        file.resize(file.len().next_multiple_of(BLOB_ALIGNMENT), 0);
        file.extend_from_slice(&self.blobs);
        file[0..8].copy_from_slice(&MAGIC);
        file[8..10].copy_from_slice(&VERSION.to_le_bytes());
        let length = file.len() as u32;
        file[12..16].copy_from_slice(&length.to_le_bytes());
        file[16..20].copy_from_slice(&(header.len() as u32).to_le_bytes());
        file[20..24].copy_from_slice(&(program.len() as u32).to_le_bytes());
        seal(&mut file);
        file
    }
}

/// Makes the checksum right again.
pub(crate) fn seal(file: &mut [u8]) {
    if file.len() >= PROLOGUE_BYTES {
        let checksum = CHECKSUM.checksum(&file[32..]);
        file[24..28].copy_from_slice(&checksum.to_le_bytes());
    }
}

fn encode(value: &impl serde::Serialize) -> Vec<u8> {
    let mut buffer = [0; 1024];
    postcard::to_slice(value, &mut buffer).unwrap().to_vec()
}
