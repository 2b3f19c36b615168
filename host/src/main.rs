//! The `lowbit` command: parses flags, calls the library, prints.

mod cli;

use std::process::ExitCode;

/// Training frees and allocates buffers of megabytes thousands of times a second; the system's
/// allocator returns them to the kernel each time, which then has to zero them again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
