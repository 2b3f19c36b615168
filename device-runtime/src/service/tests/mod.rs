mod calibration;
mod host;
mod memory_flash;
mod requests;
mod slots;
