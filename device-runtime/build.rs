//! Selects the kernels that depend on instructions which stable Rust has no `cfg` for.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(lowbit_cortex_m_dsp)");
    let target = env::var("TARGET").unwrap_or_default();
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    // Every Armv7E-M core has the DSP instructions; newer ones say so.
    let thumb = target.starts_with("thumb");
    let dsp = features.split(',').any(|feature| feature == "dsp");
    if thumb && (target.starts_with("thumbv7em") || dsp) {
        println!("cargo::rustc-cfg=lowbit_cortex_m_dsp");
    }
}
