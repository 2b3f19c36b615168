//! Version and signature of a packed file.

use lowbit_runtime::format::{Model, SIGNATURE_BYTES};

use super::{Error, file};
use crate::keys::SecretKey;

/// Gives the packed file `packed`, which has no signature yet, a version and, with a key, a
/// signature of the whole.
///
/// # Errors
/// If it is no packed file or becomes larger than the format can count.
pub fn release(packed: &mut Vec<u8>, version: u32, key: Option<&SecretKey>) -> Result<(), Error> {
    Model::new_checked(packed)?;
    file::finish(packed, version);
    let Some(key) = key else {
        return Ok(());
    };
    let bytes = packed.len() + SIGNATURE_BYTES;
    let length = u32::try_from(bytes).map_err(|_| Error::TooLarge { bytes })?;
    packed[10..12].copy_from_slice(&1u16.to_le_bytes());
    packed[12..16].copy_from_slice(&length.to_le_bytes());
    let signature = key.sign(packed);
    packed.extend_from_slice(&signature);
    Ok(())
}
