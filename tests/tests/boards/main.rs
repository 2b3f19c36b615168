//! Boards: those that QEMU emulates, how firmware gets onto the others, and whom it trusts.

mod doctor;
mod emulated;
#[cfg(unix)]
mod installation;
mod signatures;
