use crate::testing::memory_flash;

mod calibration;
mod host;
mod requests;
mod slots;
