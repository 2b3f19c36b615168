//! Bytes of a packed file, see [`lowbit_runtime::format`].

use std::io::{self, Write};
use std::path::Path;

use lowbit_runtime::calibration::{Plan, PlanLayer, Reference};
use lowbit_runtime::format::{
    BLOB_ALIGNMENT, Calibration, Golden, Header, MAGIC, Operation, PROLOGUE_BYTES, VERSION,
    content_checksum,
};
use sha2::{Digest, Sha256};

use super::Error;
use crate::lower::{Blobs, CalibratedLayer, Program};

/// Encodes header, program and blobs and puts the prologue in front of them.
pub(super) fn assemble(program: &Program, blobs: &Blobs, golden: Golden) -> Result<Vec<u8>, Error> {
    let mut blobs = blobs.clone();
    let calibration = calibration(program, &mut blobs);
    let header = postcard::to_allocvec(&Header {
        name: &program.name,
        input: program.input,
        pixels: program.pixels,
        classes: program.classes,
        operations: program.steps.len() as u16,
        arena_bytes: program.arena_bytes,
        golden,
        calibration,
    })?;
    lay_out(&header, &encode_steps(program)?, blobs.as_bytes())
}

/// Puts the prologue in front of encoded header, encoded operations and blobs.
pub(super) fn lay_out(header: &[u8], operations: &[u8], blobs: &[u8]) -> Result<Vec<u8>, Error> {
    let mut file = vec![0; PROLOGUE_BYTES];
    file.extend_from_slice(header);
    file.extend_from_slice(operations);
    file.resize(file.len().next_multiple_of(BLOB_ALIGNMENT), 0);
    file.extend_from_slice(blobs);
    let length = u32::try_from(file.len()).map_err(|_| Error::TooLarge { bytes: file.len() })?;

    file[0..8].copy_from_slice(&MAGIC);
    file[8..10].copy_from_slice(&VERSION.to_le_bytes());
    file[12..16].copy_from_slice(&length.to_le_bytes());
    file[16..20].copy_from_slice(&(header.len() as u32).to_le_bytes());
    file[20..24].copy_from_slice(&(operations.len() as u32).to_le_bytes());
    finish(&mut file, 0);
    Ok(file)
}

/// Puts version, identity and checksum into a file without signature.
pub(super) fn finish(file: &mut [u8], version: u32) {
    let version = version.to_le_bytes();
    file[28..32].copy_from_slice(&version);
    let mut identity = Sha256::new();
    identity.update(&file[PROLOGUE_BYTES..]);
    if version != [0; 4] {
        identity.update(version);
    }
    file[32..64].copy_from_slice(&identity.finalize());
    // It covers the identity, so it comes last.
    let checksum = content_checksum(file);
    file[24..28].copy_from_slice(&checksum.to_le_bytes());
}

/// Adds plan and statistics to the blobs.
fn calibration(program: &Program, blobs: &mut Blobs) -> Calibration {
    let entry = |layer: &CalibratedLayer| {
        let shift = layer.references.first().map_or(0, |found| found.shift);
        let (operation, channels) = (layer.step as u16, layer.references.len() as u16);
        PlanLayer::entry(operation, channels, shift, layer.fast)
    };
    let layers = &program.calibration;
    let plan: Vec<u8> = layers.iter().flat_map(entry).collect();
    let references = layers.iter().flat_map(|layer| &layer.references);
    let statistics: Vec<u8> = references.flat_map(Reference::encode).collect();
    if plan.is_empty() {
        return Calibration::default();
    }
    Calibration {
        plan: blobs.push(&plan),
        statistics: blobs.push(&statistics),
        checksum: Plan::checksum_of(&plan, &statistics),
    }
}

fn encode_steps(program: &Program) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    for step in &program.steps {
        let operation = Operation {
            name: &step.name,
            kind: step.kind,
            output: step.output,
        };
        bytes.extend_from_slice(&postcard::to_allocvec(&operation)?);
    }
    Ok(bytes)
}

/// Writes `bytes` to `path`: a reader sees the old file or the whole new one, even if the power
/// fails in between.
///
/// # Errors
/// If the folder does not exist or cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let named = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("cannot write `{}`: {error}", path.display()),
        )
    };
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder).map_err(named)?;
    file.write_all(bytes).map_err(named)?;
    file.as_file().sync_all().map_err(named)?;
    file.persist(path).map_err(|error| named(error.error))?;
    Ok(())
}
