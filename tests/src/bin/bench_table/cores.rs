//! The emulated cores.

use std::process::Command;

use crate::workloads::Workload;

/// A core, and a machine that has it and memory for everything.
pub(crate) struct Core {
    pub(crate) name: &'static str,
    target: &'static str,
    program: &'static str,
    machine: &'static [&'static str],
}

pub(crate) const CORES: [Core; 6] = [
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

/// Instructions of every workload.
pub(crate) fn measure(core: &Core, workloads: &[Workload]) -> Result<Vec<u64>, String> {
    let firmware = lowbit_tests::run_build(&["bench", core.target])?;
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let models = workloads.iter().flat_map(|workload| {
        let length = (workload.model.len() as u32).to_le_bytes();
        length.into_iter().chain(workload.model.iter().copied())
    });
    let models = models.collect::<Vec<u8>>();
    let path = directory.path().join("models.bench");
    fs_err::write(path, models).map_err(|error| error.to_string())?;
    let output = Command::new(core.program)
        .args(core.machine)
        .args(["-icount", "shift=0", "-display", "none", "-monitor", "none"])
        .args(["-serial", "none", "-semihosting-config"])
        .args(["enable=on,target=native", "-kernel"])
        .arg(firmware)
        .current_dir(directory.path())
        .output()
        .map_err(|error| format!("`{}`: {error}", core.program))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let counts = parse(&text, workloads);
    counts.ok_or_else(|| {
        let words = String::from_utf8_lossy(&output.stderr);
        format!("{}: {}: {words}{text}", core.name, output.status)
    })
}

/// For every workload the instructions of its layer, or of all.
fn parse(text: &str, workloads: &[Workload]) -> Option<Vec<u64>> {
    let mut lines = text.lines();
    let count = |workload: &Workload| {
        let mut sum = None;
        for line in lines.by_ref() {
            if line == "end" {
                return sum;
            }
            let (count, name) = line.split_once(' ')?;
            if workload.layer.is_none_or(|layer| layer == name) {
                sum = Some(sum.unwrap_or(0) + count.parse::<u64>().ok()?);
            }
        }
        None
    };
    workloads.iter().map(count).collect()
}
