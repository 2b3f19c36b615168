//! Selects the kernels: stable Rust has no `cfg` for the DSP instructions of Cortex-M.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!(
        "cargo::rustc-check-cfg=cfg(lowbit_cortex_m_dsp, lowbit_armv7m, lowbit_armv8m, \
         lowbit_armv6m, lowbit_riscv32m, lowbit_x86_64_detect, lowbit_without_calibration, \
         lowbit_without_benchmark)"
    );
    let target = env::var("TARGET").unwrap_or_default();
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    // Every Armv7E-M core has the DSP instructions; newer ones say so, by feature or flag.
    let thumb = target.starts_with("thumb");
    let dsp = features.split(',').any(|feature| feature == "dsp")
        || env::var_os("CARGO_CFG_LOWBIT_CORTEX_M_DSP").is_some();
    if thumb && (target.starts_with("thumbv7em") || dsp) {
        println!("cargo::rustc-cfg=lowbit_cortex_m_dsp");
    }
    // The instructions of Armv7-M, which every core with the DSP instructions has as well.
    if thumb && (target.starts_with("thumbv7") || dsp) {
        println!("cargo::rustc-cfg=lowbit_armv7m");
    }
    // The smallest cores, and the small ones of Armv8-M.
    if target.starts_with("thumbv6m") || target.starts_with("thumbv8m.base") {
        println!("cargo::rustc-cfg=lowbit_armv6m");
    }
    if target.starts_with("thumbv8m") {
        println!("cargo::rustc-cfg=lowbit_armv8m");
    }
    let riscv32 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "riscv32");
    if riscv32 && features.split(',').any(|feature| feature == "m") {
        println!("cargo::rustc-cfg=lowbit_riscv32m");
    }
    // Asking the processor what it can do takes `std`.
    let x86_64 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    if x86_64 && env::var_os("CARGO_FEATURE_STD").is_some() {
        println!("cargo::rustc-cfg=lowbit_x86_64_detect");
    }
}
