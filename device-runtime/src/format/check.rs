//! The rules that a model keeps, see [`Model::new_checked`](super::Model::new_checked).

use super::{Error, Fault, Model};

/// Checks everything behind the prologue.
pub(super) fn model(model: &Model<'_>) -> Result<(), Error> {
    let mut operations = model.operations();
    for index in 0..model.header().operations {
        if let Some(Err(fault)) = operations.decode_next() {
            return Err(Error::Operation { index, fault });
        }
    }
    let bytes = operations.rest().len();
    if bytes != 0 {
        return Err(Error::Header(Fault::Trailing { bytes }));
    }
    Ok(())
}
