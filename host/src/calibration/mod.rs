//! Calibration in the board's own arithmetic, on this computer: the same record from the same
//! images.

mod acceptance;
mod agreement;
mod factory;
mod priors;
mod ranges;
mod record;
mod routine;
mod sweep;
mod trial;

pub use acceptance::{Attempt, Judging, Verdict, accept};
pub use agreement::Agreement;
pub use factory::{Recalibration, recalibrated};
pub use priors::{Chosen, Priors, Refused};
pub use ranges::{Fitted, FittedLayer, fit_ranges};
pub use record::{read_record, record};
pub use routine::{Calibration, Error, Settings, calibrate};
pub use sweep::{Automatic, Cell, Row, Sweep, Unlabelled, plan_name, trial};
pub use trial::Trial;
