//! `lowbit verify` beyond one board and one go: notes of what was compared, several boards, pages.

use std::path::{Path, PathBuf};

use lowbit_tests::{Finished, qemu, random_network, run, run_build};
use serde_json::Value;

/// A folder with a model and the memories of the boards.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let model = random_network("resnet8", 4);
        fs_err::write(folder.path().join("model.lowbit"), model).expect("is written");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `lowbit COMMAND --state STATE model.lowbit FLAGS`.
    fn run(&self, command: &str, flags: &[&str]) -> Finished {
        let state = self.path("state");
        let model = self.path("model.lowbit");
        let text = |path: &Path| path.to_str().expect("is text").to_owned();
        let fixed = [command, "--state", &text(&state), &text(&model)];
        run(fixed.iter().chain(flags))
    }

    fn flash(&self, board: &str) {
        let flashed = self.run("flash", &["--board", board]);
        assert_eq!(flashed.code, 0, "{board}: {}", flashed.stderr);
    }

    /// Verifies with these flags, on built-in images.
    fn verify(&self, flags: &[&str]) -> Finished {
        self.run("verify", &[&["--data", "shapes"], flags].concat())
    }

    /// The verdict of the linux board on `limit` images, noted in a folder.
    fn noted(&self, limit: &str) -> Value {
        let notes = self.path("notes");
        let notes = notes.to_str().expect("is text");
        let flags = ["--board", "linux", "--json", "--limit", limit, "--resume"];
        let verified = self.verify(&[&flags[..], &[notes]].concat());
        assert_eq!(verified.code, 0, "{}", verified.stderr);
        verified.json()
    }
}

#[test]
fn a_verification_goes_on_behind_what_is_noted() {
    run_build(&["linux"]).expect("builds");
    let desk = Desk::new();
    desk.flash("linux");
    assert_eq!(desk.noted("6")["images"], 6);
    let notes = desk.path("notes").join("linux.jsonl");
    let written = fs_err::read_to_string(&notes).expect("is there");
    let lines: Vec<_> = written.lines().collect();
    assert_eq!(lines.len(), 1 + 6);
    // What is noted is not measured again: a duration that no board has, and half a line as a power
    // failure leaves it.
    let mut first: Value = serde_json::from_str(lines[1]).expect("is JSON");
    first["ticks"] = 1_000_000_000_000_000_u64.into();
    let first = first.to_string();
    let changed = written.replace(lines[1], &first) + "{\"pixels_crc32\":12";
    fs_err::write(&notes, changed).expect("is written");
    let verdict = desk.noted("15");
    assert_eq!(
        (&verdict["images"], &verdict["agreement"]),
        (&15.into(), &1.0.into())
    );
    assert_eq!(verdict["durations"]["most"], 1_000_000_000_000_000_u64);
    let lines = fs_err::read_to_string(&notes).expect("is there");
    assert_eq!(lines.lines().count(), 1 + 15);
    let fresh = desk.verify(&["--board", "linux", "--json", "--limit", "15"]);
    for key in ["confusion", "board_top1", "board_top5", "quantized_top1"] {
        assert_eq!(verdict[key], fresh.json()[key], "{key}");
    }
}

#[test]
fn notes_on_something_else_are_refused() {
    run_build(&["linux"]).expect("builds");
    let desk = Desk::new();
    desk.flash("linux");
    desk.noted("2");
    let notes = desk.path("notes");
    let notes = notes.to_str().expect("is text");
    let refused = |flags: &[&str], words: &str| {
        let common = ["--board", "linux", "--limit", "3", "--resume", notes];
        let finished = desk.run("verify", &[&common[..], flags].concat());
        assert_eq!(finished.code, 2);
        for words in [words, "--resume"] {
            assert!(finished.stderr.contains(words), "{}", finished.stderr);
        }
    };
    refused(&["--data", "shapes:train"], "image 0 is not the one");
    refused(&["--data", "shapes", "--layers"], "another way to compare");
    let file = desk.path("notes").join("linux.jsonl");
    let written = fs_err::read_to_string(&file).expect("is there");
    fs_err::write(&file, written.replace("\"label\"", "\"lable\"")).expect("is written");
    refused(&["--data", "shapes"], "line 2: unknown field `lable`");
}

#[test]
fn several_boards_are_verified_at_once_and_end_on_a_page() {
    if !qemu("several_boards_are_verified_at_once_and_end_on_a_page") {
        return;
    }
    run_build(&["linux"]).expect("builds");
    run_build(&["mps2-an386"]).expect("builds");
    let desk = Desk::new();
    desk.flash("linux");
    desk.flash("mps2-an386");
    let page = desk.path("page.html");
    let flags = ["--all", "--limit", "3", "--json", "--report"];
    let verified = desk.verify(&[&flags[..], &[page.to_str().expect("is text")]].concat());
    assert_eq!(verified.code, 0, "{}", verified.stderr);
    let result = verified.json();
    let boards = result["boards"].as_array().expect("several");
    let mut names: Vec<_> = boards.iter().map(|found| found["board"].as_str()).collect();
    names.sort();
    // Other boards do not hold the model.
    assert_eq!(names, [Some("linux"), Some("mps2-an386")]);
    for found in boards {
        assert_eq!(found["agreement"], 1.0, "{found}");
        assert_eq!(found["confusion"], boards[0]["confusion"]);
    }
    let page = fs_err::read_to_string(page).expect("is written");
    for words in [
        "2 of 2 boards compute exactly",
        "top-1 accuracy",
        "labels and answers",
        "instructions of the layers",
        "ns of the layers",
        "byte of the arena",
    ] {
        assert!(page.contains(words), "{words}");
    }
    let page = page.replace("http://www.w3.org/2000/svg", "");
    for outside in ["http:", "https:", "<script", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    let boards = ["--board", "linux", "--board", "mps2-an505", "--limit", "1"];
    let one_without_model = desk.verify(&boards);
    assert_eq!(one_without_model.code, 2, "{}", one_without_model.stderr);
    let shown = one_without_model.stdout;
    assert!(
        shown.contains("linux") && shown.contains("no model"),
        "{shown}"
    );
    assert!(
        one_without_model
            .stderr
            .contains("mps2-an505 could not be verified"),
        "{}",
        one_without_model.stderr
    );
}
