//! The emulated cores, for firmware that is about a core and not about a board.

use std::path::Path;
use std::process::{Command, Output};

use crate::run_build;

/// A core, and a machine that has it and memory for everything.
#[derive(Debug)]
pub struct Core {
    /// As documents name it.
    pub name: &'static str,
    target: &'static str,
    program: &'static str,
    machine: &'static [&'static str],
}

/// All that kernels are written for.
pub const CORES: [Core; 6] = [
    Core {
        name: "M4",
        target: "thumbv7em-none-eabihf",
        program: "qemu-system-arm",
        machine: &["-M", "mps2-an386"],
    },
    Core {
        name: "M7",
        target: "thumbv7em-none-eabihf",
        program: "qemu-system-arm",
        machine: &["-M", "mps2-an500"],
    },
    Core {
        name: "M33",
        target: "thumbv8m.main-none-eabihf",
        program: "qemu-system-arm",
        machine: &["-M", "mps2-an505"],
    },
    Core {
        name: "M3",
        target: "thumbv7m-none-eabi",
        program: "qemu-system-arm",
        machine: &["-M", "mps2-an385"],
    },
    Core {
        name: "M0",
        target: "thumbv6m-none-eabi",
        program: "qemu-system-arm",
        machine: &[
            "-M",
            "microbit",
            "-global",
            "nrf51-soc.flash-size=4194304",
            "-global",
            "nrf51-soc.sram-size=1048576",
        ],
    },
    Core {
        name: "RV32",
        target: "riscv32imac-unknown-none-elf",
        program: "qemu-system-riscv32",
        machine: &["-M", "virt", "-bios", "none"],
    },
];

impl Core {
    /// Builds `firmware`, one that is built for many targets, and runs it in `directory` until it
    /// ends by itself. An instruction takes 1 ns.
    ///
    /// # Errors
    /// The build's words, or that the emulator is missing.
    pub fn run(&self, firmware: &str, directory: &Path) -> Result<Output, String> {
        let firmware = run_build(&[firmware, self.target])?;
        let output = Command::new(self.program)
            .args(self.machine)
            .args(["-icount", "shift=0", "-display", "none", "-monitor", "none"])
            .args(["-serial", "none", "-semihosting-config"])
            .args(["enable=on,target=native", "-kernel"])
            .arg(firmware)
            .current_dir(directory)
            .output();
        output.map_err(|error| format!("`{}`: {error}", self.program))
    }
}
