//! Chooses the memory layout of the machine that has the target's core.

use std::{env, fs, path::PathBuf};

fn layout(target: &str) -> Option<&'static str> {
    Some(match target {
        "thumbv6m-none-eabi" => "../bench/memory/large-microbit.x",
        "thumbv7m-none-eabi" | "thumbv7em-none-eabihf" => "../mps2-an386/memory.x",
        "thumbv8m.main-none-eabihf" => "../mps2-an505/memory.x",
        "riscv32imac-unknown-none-elf" => "../rv32-virt/memory.x",
        _ => return None,
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = env::var("TARGET")?;
    let layout = layout(&target).ok_or_else(|| format!("no machine is known for `{target}`"))?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::copy(layout, out.join("memory.x"))?;
    println!("cargo::rustc-link-search={}", out.display());
    if target.starts_with("riscv") {
        println!("cargo::rustc-link-arg=-Tmemory.x");
    }
    println!("cargo::rustc-link-arg=-Tlink.x");
    println!("cargo::rerun-if-changed={layout}");
    Ok(())
}
