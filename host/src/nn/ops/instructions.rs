//! Which vector instructions the operators use.

use std::sync::OnceLock;

use pulp::Arch;

/// Environment variable that holds the operators to `portable` code, `avx2` or `avx512`, for tests
/// and to compare machines. Without it they use the best that the machine has.
pub const VARIABLE: &str = "LOWBIT_INSTRUCTIONS";

/// Names of the instruction sets that this machine has.
#[must_use]
pub fn available() -> Vec<&'static str> {
    let names = ["portable", "avx2", "avx512"].into_iter();
    names.filter(|name| find(name).is_some()).collect()
}

/// The instructions in use, the same for the whole life of the process.
pub(crate) fn arch() -> Arch {
    static CHOSEN: OnceLock<Arch> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let Ok(name) = std::env::var(VARIABLE) else {
            return Arch::new();
        };
        find(&name).unwrap_or_else(|| {
            let known = available().join(", ");
            tracing::warn!("{VARIABLE} is {name}; this machine has {known} and uses the last");
            Arch::new()
        })
    })
}

fn find(name: &str) -> Option<Arch> {
    match name {
        "portable" => Some(Arch::Scalar),
        #[cfg(target_arch = "x86_64")]
        "avx2" => pulp::x86::V3::try_new().map(Arch::V3),
        #[cfg(target_arch = "x86_64")]
        "avx512" => pulp::x86::V4::try_new().map(Arch::V4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The operators' own tests hold them against plain loops and finite differences. The choice is
    /// that of a process, so every instruction set gets one.
    #[test]
    fn operators_pass_their_tests_with_every_instruction_set() {
        for name in available() {
            let tests = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["nn::tests::", "nn::ops::transpose::"])
                .env(VARIABLE, name)
                .output()
                .unwrap();
            let report = String::from_utf8_lossy(&tests.stdout);
            assert!(tests.status.success(), "{name}:\n{report}");
            assert!(!report.contains("running 0 tests"), "{name}:\n{report}");
        }
    }
}
