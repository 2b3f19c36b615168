//! The real binary, real firmware under QEMU, real networks. One program, so that the tests are
//! linked once and share both processors to the end.

mod backends;
mod bad_input;
mod boards;
mod calibration;
mod chain;
mod demo;
mod import;
mod integer_resnet20;
mod kernels;
mod robust_runs;
