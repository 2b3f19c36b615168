//! A packed file with the parameters of a calibration in place of the factory's.

use lowbit_runtime::format::Model;

use super::{Error, Parts};

/// The packed file `model` with the layers in `payload`, which have been checked against it, as its
/// own parameters, and the golden results that follow from them. It cannot be calibrated further, as
/// its statistics would be those of other parameters.
///
/// # Errors
/// If the file breaks a rule of the format afterwards.
pub fn apply(model: &Model<'_>, payload: &[u8]) -> Result<Vec<u8>, Error> {
    let mut parts = Parts::of(model);
    parts.correct(payload);
    parts.forget_statistics();
    parts.finish()
}
