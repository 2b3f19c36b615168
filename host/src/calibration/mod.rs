//! Calibration in the board's own arithmetic, on this computer: the same record from the same
//! images.

mod acceptance;
mod record;
mod routine;
mod sweep;
mod trial;

pub use acceptance::{Judging, Verdict, accept};
pub use record::{read_record, record};
pub use routine::{Calibration, Error, Settings, calibrate};
pub use sweep::{Cell, Row, Sweep, plan_name, trial};
pub use trial::Trial;
