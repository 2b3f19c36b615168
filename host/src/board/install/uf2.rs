//! UF2, the file format of boards that show themselves as a drive.
//!
//! The file is a list of blocks of 512 bytes, each of which says where its 256 bytes go, see
//! <https://github.com/microsoft/uf2>.

use std::collections::BTreeMap;

use object::Endianness;
use object::elf::{FileHeader32, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

use crate::board::Region;

const BLOCK_BYTES: usize = 512;
/// Bytes that a block brings.
const PAGE_BYTES: u32 = 256;
const MAGIC: [u32; 2] = [0x0a32_4655, 0x9e5d_5157];
const MAGIC_AT_THE_END: u32 = 0x0ab1_6f30;
/// The block names the family of its chip.
const FAMILY_IS_GIVEN: u32 = 0x2000;

/// Why an ELF file cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum Uf2Error {
    /// It is none of 32 bits.
    #[error("no ELF file of 32 bits: {0}")]
    Elf(#[from] object::Error),
    /// It has no content.
    #[error("there is nothing to load in it")]
    Empty,
    /// It does not lie where the firmware of the board must.
    #[error(
        "{bytes} bytes at {address:#010x} do not lie within the board's {} bytes at {:#010x}",
        region.bytes, region.origin
    )]
    Outside {
        /// First address of the part.
        address: u32,
        /// Its length.
        bytes: u64,
        /// Where it must lie.
        region: Region,
    },
}

/// The blocks for what `elf` loads, for a chip of `family`. All of it must lie in `region`.
///
/// # Errors
/// If it is no ELF file, is empty or does not lie there.
pub(super) fn convert(
    elf: &[u8],
    family: u32,
    region: Option<Region>,
) -> Result<Vec<u8>, Uf2Error> {
    let pages = pages(elf, region)?;
    if pages.is_empty() {
        return Err(Uf2Error::Empty);
    }
    let count = pages.len() as u32;
    let blocks = pages
        .iter()
        .zip(0..)
        .flat_map(|((&address, page), number)| {
            let mut block = Vec::with_capacity(BLOCK_BYTES);
            let [first, second] = MAGIC;
            let flags = FAMILY_IS_GIVEN;
            for word in [
                first, second, flags, address, PAGE_BYTES, number, count, family,
            ] {
                block.extend_from_slice(&u32::to_le_bytes(word));
            }
            block.extend_from_slice(page);
            block.resize(BLOCK_BYTES - size_of::<u32>(), 0);
            block.extend_from_slice(&MAGIC_AT_THE_END.to_le_bytes());
            block
        });
    Ok(blocks.collect())
}

/// What `elf` loads, by the address of each page; what a page lacks is 0.
fn pages(
    elf: &[u8],
    region: Option<Region>,
) -> Result<BTreeMap<u32, [u8; PAGE_BYTES as usize]>, Uf2Error> {
    let header = FileHeader32::<Endianness>::parse(elf)?;
    let endian = header.endian()?;
    let mut pages = BTreeMap::new();
    for segment in header.program_headers(endian, elf)? {
        if segment.p_type(endian) != PT_LOAD {
            continue;
        }
        let content = segment.data(endian, elf).map_err(|()| Uf2Error::Empty)?;
        let address = segment.p_paddr(endian);
        check_place(address, content.len() as u64, region)?;
        for (&byte, place) in content.iter().zip(address..) {
            let page = place / PAGE_BYTES * PAGE_BYTES;
            let bytes = pages.entry(page).or_insert([0; PAGE_BYTES as usize]);
            bytes[(place - page) as usize] = byte;
        }
    }
    Ok(pages)
}

fn check_place(address: u32, bytes: u64, region: Option<Region>) -> Result<(), Uf2Error> {
    let region = region.unwrap_or(Region {
        origin: 0,
        bytes: u32::MAX,
    });
    let start = u64::from(address).checked_sub(region.origin.into());
    if bytes == 0 || start.is_some_and(|start| start + bytes <= region.bytes.into()) {
        return Ok(());
    }
    Err(Uf2Error::Outside {
        address,
        bytes,
        region,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: Region = Region {
        origin: 0x1000_0000,
        bytes: 0x1000,
    };
    const FAMILY: u32 = 0xe48b_ff59;

    /// An ELF file that loads `segments`: addresses in memory and in flash, and bytes.
    fn elf(segments: &[(u32, u32, &[u8])]) -> Vec<u8> {
        const HEADER: u16 = 52;
        const ENTRY: u16 = 32;
        let count = segments.len() as u16;
        let halves = |halves: &[u16]| halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
        // An executable for Arm.
        let mut parts: Vec<Vec<u8>> = vec![
            b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec(),
            halves(&[2, 40]),
            words(&[1, REGION.origin, HEADER.into(), 0, 0]),
            halves(&[HEADER, ENTRY, count, 0, 0, 0]),
        ];
        let mut content = u32::from(HEADER + ENTRY * count);
        for &(memory, flash, bytes) in segments {
            let length = bytes.len() as u32;
            parts.push(words(&[1, content, memory, flash, length, length, 5, 4]));
            content += length;
        }
        parts.extend(segments.iter().map(|(_, _, bytes)| bytes.to_vec()));
        parts.concat()
    }

    fn word(block: &[u8], index: usize) -> u32 {
        u32::from_le_bytes(*block[4 * index..].first_chunk().expect("is in it"))
    }

    #[test]
    fn every_loaded_byte_is_in_the_block_of_its_page() {
        let code: Vec<u8> = (0..300_u32).map(|index| index as u8).collect();
        let data = [7, 8, 9];
        let data_in_flash = REGION.origin + 0x130;
        let file = elf(&[
            (REGION.origin, REGION.origin, &code),
            (0x2000_0000, data_in_flash, &data),
        ]);
        let blocks = convert(&file, FAMILY, Some(REGION)).expect("converts");
        let blocks: Vec<_> = blocks.chunks(BLOCK_BYTES).collect();
        assert_eq!(blocks.len(), 2);
        for (number, block) in blocks.iter().enumerate() {
            let head: Vec<_> = (0..8).map(|index| word(block, index)).collect();
            let address = REGION.origin + 0x100 * number as u32;
            let number = number as u32;
            let expected = [
                0x0a32_4655,
                0x9e5d_5157,
                0x2000,
                address,
                256,
                number,
                2,
                FAMILY,
            ];
            assert_eq!(head, expected);
            assert_eq!(word(block, 127), 0x0ab1_6f30);
        }
        assert_eq!(blocks[0][32..288], code[..256]);
        assert_eq!(blocks[1][32..76], code[256..]);
        assert_eq!(blocks[1][76..80], [0; 4]);
        assert_eq!(blocks[1][80..83], data);
        assert!(blocks[1][83..508].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn firmware_of_another_board_is_refused() {
        for address in [0x0800_0000, REGION.origin + REGION.bytes - 2, u32::MAX - 1] {
            let file = elf(&[(address, address, &[1, 2, 3])]);
            let error = convert(&file, FAMILY, Some(REGION)).expect_err("lies elsewhere");
            assert!(matches!(error, Uf2Error::Outside { .. }), "{error}");
        }
    }

    #[test]
    fn what_is_no_elf_file_is_refused() {
        let file = elf(&[(REGION.origin, REGION.origin, &[1; 100])]);
        for length in 0..file.len() {
            assert!(
                convert(&file[..length], FAMILY, Some(REGION)).is_err(),
                "{length}"
            );
        }
        assert!(matches!(
            convert(&elf(&[]), FAMILY, None),
            Err(Uf2Error::Empty)
        ));
    }
}
