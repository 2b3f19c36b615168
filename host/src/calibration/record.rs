//! Records as files: the same bytes that a board keeps in its flash.

use lowbit_runtime::calibration::{
    COMMIT_OFFSET, Corrections, Header, Metric, PAYLOAD_OFFSET, Plan, Record, RecordError,
    WRITE_UNIT,
};
use lowbit_runtime::format::{CHECKSUM, Model};

use super::{Calibration, Settings};

/// A complete record of `calibration`, made from `images` images with `settings`.
#[must_use]
pub fn record(
    model: &Model<'_>,
    calibration: &Calibration,
    images: u32,
    settings: Settings,
    metric: Metric,
    generation: u32,
) -> Vec<u8> {
    let mut identity = [0; 16];
    identity.copy_from_slice(&model.identity()[..16]);
    let channels = u64::from(calibration.channels.max(1));
    let header = Header {
        generation,
        model: identity,
        plan: Plan::of(model).map_or(0, |plan| plan.checksum()),
        images,
        prior: settings.prior,
        layers: calibration.layers,
        clamped_permille: (u64::from(calibration.clamped) * 1000 / channels) as u16,
        before: metric.before,
        after: metric.after,
        labelled: metric.labelled,
        payload_length: calibration.payload.len() as u32,
        payload_checksum: CHECKSUM.checksum(&calibration.payload),
    };
    const ERASED: u8 = 0xff;
    let mut bytes = vec![ERASED; PAYLOAD_OFFSET];
    let encoded = header.encode();
    bytes[..encoded.len()].copy_from_slice(&encoded);
    bytes[COMMIT_OFFSET..][..WRITE_UNIT].fill(0);
    bytes.extend_from_slice(&calibration.payload);
    bytes
}

/// The header and the layers of a record that was made for `model`.
///
/// # Errors
/// Names the first field that is wrong.
pub fn read_record<'a>(
    model: &Model<'_>,
    bytes: &'a [u8],
) -> Result<(Header, &'a [u8]), RecordError> {
    let plan = Plan::of(model).ok_or(RecordError::Model)?;
    let record = Record::new_checked(bytes, model.identity(), plan.checksum())?;
    Corrections::new_checked(&plan, record.payload())?;
    Ok((*record.header(), record.payload()))
}
