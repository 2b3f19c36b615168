//! The tuned kernels of every core compute what the reference computes, on the core itself.

use lowbit_tests::{CORES, qemu};

#[test]
fn tuned_kernels_equal_the_reference_on_every_core() {
    if !qemu("tuned_kernels_equal_the_reference_on_every_core") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    for core in &CORES {
        let output = core.run("kernel-tests", directory.path());
        let output = output.unwrap_or_else(|reason| panic!("{}: {reason}", core.name));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {text}", core.name);
        assert!(
            text.ends_with("600 convolutions and 300 sums, 0 differences\n"),
            "{}: {text}",
            core.name
        );
    }
}
