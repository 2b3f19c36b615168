//! Chooses the memory layout and the clock of the machine that has the target's core.

use std::{env, fs, path::PathBuf};

/// Memory layout, and instructions in two ticks of the core's timer, if it has one.
fn machine(target: &str) -> Option<(&'static str, u32)> {
    Some(match target {
        "thumbv6m-none-eabi" => ("../bench/memory/large-microbit.x", 125),
        "thumbv7m-none-eabi" | "thumbv7em-none-eabihf" => ("../mps2-an386/memory.x", 80),
        "thumbv8m.main-none-eabihf" => ("../mps2-an505/memory.x", 100),
        "riscv32imac-unknown-none-elf" => ("../rv32-virt/memory.x", 0),
        _ => return None,
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = env::var("TARGET")?;
    let (layout, instructions) =
        machine(&target).ok_or_else(|| format!("no machine is known for `{target}`"))?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::copy(layout, out.join("memory.x"))?;
    println!("cargo::rustc-link-search={}", out.display());
    if target.starts_with("riscv") {
        println!("cargo::rustc-link-arg=-Tmemory.x");
    }
    println!("cargo::rustc-link-arg=-Tlink.x");
    println!("cargo::rustc-env=INSTRUCTIONS_PER_TWO_TICKS={instructions}");
    println!("cargo::rerun-if-changed={layout}");
    Ok(())
}
