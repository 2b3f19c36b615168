//! Boards: those that QEMU emulates, and how firmware gets onto the others.

mod doctor;
mod emulated;
#[cfg(unix)]
mod installation;
