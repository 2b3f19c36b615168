use crate::testing::{host, memory_flash};

mod calibration;
mod requests;
mod slots;
