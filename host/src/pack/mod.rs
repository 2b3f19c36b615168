//! Integer programs to packed files.

mod applied;
mod error;
mod file;
mod parts;
mod release;
mod rescale;

use lowbit_runtime::format::{Golden, MAX_OPERATIONS, Model};

use crate::integer::IntegerNetwork;
use crate::lower::{Blobs, Program};

pub use applied::apply;
pub use error::Error;
pub use file::write;
pub use parts::Parts;
pub use release::release;

/// Packs `program` into a file that carries `golden_inputs`, each height x width x channels bytes,
/// together with the results that every device must reproduce.
///
/// # Errors
/// If the program breaks a rule of the format, an input has the wrong size, or there are more
/// operations, inputs or bytes than the format can count.
pub fn pack(program: &Program, golden_inputs: &[Vec<u8>]) -> Result<Vec<u8>, Error> {
    if program.steps.len() > usize::from(MAX_OPERATIONS) {
        return Err(Error::Operations {
            found: program.steps.len(),
        });
    }
    let plain = file::assemble(program, &program.blobs, Golden::default())?;
    let network = IntegerNetwork::new(&plain)?;
    let mut blobs = program.blobs.clone();
    let golden = golden(&network, golden_inputs, &mut blobs)?;
    let packed = file::assemble(program, &blobs, golden)?;
    Model::new_checked(&packed)?;
    Ok(packed)
}

fn golden(
    network: &IntegerNetwork<'_>,
    inputs: &[Vec<u8>],
    blobs: &mut Blobs,
) -> Result<Golden, Error> {
    if inputs.is_empty() {
        return Ok(Golden::default());
    }
    let images = u16::try_from(inputs.len()).map_err(|_| Error::GoldenInputs {
        found: inputs.len(),
    })?;
    let (mut logits, mut digests) = (Vec::new(), Vec::new());
    for pixels in inputs {
        let (image_logits, image_digests) = network.logits_and_digests(pixels)?;
        logits.extend(image_logits.iter().flat_map(|logit| logit.to_le_bytes()));
        digests.extend(image_digests.iter().flat_map(|digest| digest.to_le_bytes()));
    }
    Ok(Golden {
        images,
        pixels: blobs.push(&inputs.concat()),
        digests: blobs.push(&digests),
        logits: blobs.push(&logits),
    })
}
