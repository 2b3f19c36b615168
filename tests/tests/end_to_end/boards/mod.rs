//! Boards: those that QEMU emulates, how firmware gets onto the others, and whom it trusts.

#[cfg(unix)]
mod b_l475e_iot01a;
mod bad_cable;
mod calibration;
mod doctor;
mod emulated;
#[cfg(unix)]
mod installation;
mod linux;
#[cfg(unix)]
mod mps2_an386;
mod other_client;
#[cfg(unix)]
mod serial_port;
mod signatures;
mod verify;
