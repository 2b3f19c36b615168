//! The demo as a newcomer runs it.

use lowbit_tests::{qemu, run};

#[test]
fn the_demo_ends_with_full_agreement_and_a_clear_gain() {
    if !qemu("the_demo_ends_with_full_agreement_and_a_clear_gain") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().display().to_string();
    let finished = run(["demo", "--out", &out, "--json"]);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let report = finished.json();
    let number = |key: &str| {
        report[key]
            .as_f64()
            .unwrap_or_else(|| panic!("`{key}` is no number in {report}"))
    };
    assert_eq!(number("agreement"), 1.0);
    assert!(number("float_top1") > 95.0, "{report}");
    assert!(
        number("quantized_top1") >= number("naive_top1") + 5.0,
        "{report}"
    );
    assert_eq!(report["board_top1"], report["host_top1_of_board_images"]);
    for key in [
        "model_bytes",
        "arena_bytes",
        "stack_bytes",
        "instructions_per_inference",
    ] {
        assert!(number(key) > 0.0, "`{key}` in {report}");
    }
    for picture in ["samples.png", "curves.svg"] {
        let bytes = fs_err::read(folder.path().join(picture)).expect("the picture");
        assert!(bytes.len() > 1000, "{picture} is empty");
    }
}
