//! `lowbit flash --firmware`. No board is plugged in here: the programs that write firmware are
//! stood in for by one that notes its arguments, a drive by a folder.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lowbit_tests::{Finished, build_script, built_firmware, finish, lowbit, run};

/// A folder with firmware of `package`, which is no more than a file of that name.
fn some_firmware(package: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(package);
    fs_err::write(&path, "firmware").expect("is written");
    let path = path.canonicalize().expect("exists");
    (folder, path)
}

/// Installs with nothing but `programs` to find programs in.
fn install(board: &str, firmware: &Path, programs: &Path) -> Finished {
    let mut command = lowbit();
    command.env("PATH", programs);
    command.args(["flash", "--firmware", "--board", board, "--firmware-dir"]);
    finish(command.arg(firmware))
}

fn write_script(path: &Path, script: &str) {
    fs_err::write(path, script).expect("is written");
    fs_err::set_permissions(path, Permissions::from_mode(0o755)).expect("may run");
}

#[test]
fn firmware_is_built_where_it_is_looked_for_wherever_cargo_puts_the_rest() {
    let name = "firmware_is_built_where_it_is_looked_for_wherever_cargo_puts_the_rest";
    let Some(looked_for) = built_firmware(name, "mps2-an386") else {
        return;
    };
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let mut build = build_script();
    build.env("CARGO_TARGET_DIR", elsewhere.path());
    let built = finish(build.arg("mps2-an386"));
    assert_eq!(built.code, 0, "{}", built.stderr);
    assert_eq!(Path::new(built.stdout.trim()), looked_for);
    let written = fs_err::read_dir(elsewhere.path()).expect("is a folder");
    assert_eq!(written.count(), 0);
}

#[test]
fn a_debugger_is_told_to_write_the_firmware_and_to_start_it() {
    let (folder, firmware) = some_firmware("lowbit-nucleo-f446re");
    let notes = folder.path().join("notes");
    let script = format!(
        "#!/bin/sh\necho \"$@\" >>'{}'\necho talk\n",
        notes.display()
    );
    write_script(&folder.path().join("probe-rs"), &script);

    let done = install("nucleo-f446re", folder.path(), folder.path());
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(!done.stdout.contains("talk") && done.stderr.contains("talk"));
    let expected = format!(
        "download --non-interactive --chip STM32F446RETx {}\n\
         reset --non-interactive --chip STM32F446RETx\n",
        firmware.display()
    );
    assert_eq!(fs_err::read_to_string(notes).expect("was run"), expected);

    write_script(&folder.path().join("probe-rs"), "#!/bin/sh\nexit 3\n");
    let failed = install("nucleo-f446re", folder.path(), folder.path());
    assert_eq!(failed.code, 2);
    let shown = &failed.stderr;
    assert!(
        shown.contains("`probe-rs download` failed") && shown.contains("probe-rs list"),
        "{shown}"
    );
}

#[test]
fn what_is_missing_is_named_with_how_to_get_it() {
    let (folder, _) = some_firmware("lowbit-nrf52840-dk");
    let no_program = install("nrf52840-dk", folder.path(), folder.path());
    assert_eq!(no_program.code, 2);
    let shown = &no_program.stderr;
    assert!(
        shown.contains("`probe-rs` is not installed")
            && shown.contains("cargo install probe-rs-tools"),
        "{shown}"
    );

    let boards = folder.path().join("boards/nrf52840-dk");
    fs_err::create_dir_all(&boards).expect("is made");
    let description = lowbit_tests::repository().join("boards/nrf52840-dk/board.toml");
    let description = fs_err::read_to_string(description).expect("is there");
    let description = description.replace("lowbit-nrf52840-dk", "never-built");
    fs_err::write(boards.join("board.toml"), description).expect("is written");
    let boards = folder.path().join("boards");
    let boards = boards.to_str().expect("is text");
    let arguments = [
        "flash",
        "--firmware",
        "--board",
        "nrf52840-dk",
        "--boards-dir",
    ];
    let no_firmware = run([&arguments[..], &[boards]].concat());
    assert_eq!(no_firmware.code, 2);
    let shown = &no_firmware.stderr;
    assert!(
        shown.contains("scripts/build-firmware nrf52840-dk"),
        "{shown}"
    );
}

#[test]
fn an_emulated_board_needs_no_installation() {
    for board in ["mps2-an386", "linux"] {
        let refused = run(["flash", "--firmware", "--board", board]);
        assert_eq!(refused.code, 2);
        let shown = &refused.stderr;
        assert!(shown.contains("needs no installation"), "{shown}");
    }
}

/// The bytes that blocks of UF2 put from `address` on, without gaps.
fn loaded_from(blocks: &[u8], address: u32) -> Vec<u8> {
    let mut next = address;
    let mut loaded = Vec::new();
    for block in blocks.chunks(512) {
        let target = u32::from_le_bytes(*block[12..].first_chunk().expect("is in it"));
        if target == next {
            loaded.extend_from_slice(&block[32..][..256]);
            next += 256;
        }
    }
    loaded
}

/// The first words of what a drive gets, from the start of the flash on, and the description of the
/// program in it, which the chip's boot code looks for in the first 4 KiB.
fn copied_to_a_drive(board: &str, firmware: &Path) -> (Vec<u32>, Vec<u32>) {
    let drive = tempfile::tempdir().expect("a temporary folder");
    let information = "UF2 Bootloader v1.0\r\nModel: Raspberry Pi RP2350\r\nBoard-ID: RP2350\r\n";
    fs_err::write(drive.path().join("INFO_UF2.TXT"), information).expect("is written");
    let folder = firmware.parent().expect("has a folder").display();
    let (folder, place) = (folder.to_string(), drive.path().display().to_string());
    let arguments = ["flash", "--firmware", "--board", board];
    let rest = ["--firmware-dir", &folder, "--drive", &place, "--json"];
    let done = run([&arguments[..], &rest].concat());
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(done.json()["installer"], "UF2 drive");

    let blocks = fs_err::read(drive.path().join("lowbit.uf2")).expect("is there");
    let image = loaded_from(&blocks, 0x1000_0000);
    assert!(image.len() > 100_000, "{} bytes", image.len());
    let words = image.as_chunks().0.iter();
    let words: Vec<_> = words.map(|&word| u32::from_le_bytes(word)).collect();
    let start = words[..1024].iter().position(|&word| word == 0xffff_ded3);
    let description = words[start.expect("is there")..][..5].to_vec();
    (words, description)
}

#[test]
fn the_firmware_of_a_board_with_a_drive_is_copied_there() {
    let name = "the_firmware_of_a_board_with_a_drive_is_copied_there";
    let Some(firmware) = built_firmware(name, "raspberry-pi-pico-2") else {
        return;
    };
    let (words, description) = copied_to_a_drive("raspberry-pi-pico-2", &firmware);
    // The stack's first address and the first instruction, as the core expects them.
    assert_eq!(words[0], 0x2000_8000);
    let first = words[1];
    assert!(first & 1 == 1 && first > 0x1000_0000, "{first:#x}");
    // Of a program for an Arm core.
    let expected = [0xffff_ded3, 0x1021_0142, 0x0000_01ff, 0, 0xab12_3579];
    assert_eq!(description, expected);
}

#[test]
fn the_same_board_starts_its_other_core() {
    let name = "the_same_board_starts_its_other_core";
    let Some(firmware) = built_firmware(name, "raspberry-pi-pico-2-riscv") else {
        return;
    };
    let (words, description) = copied_to_a_drive("raspberry-pi-pico-2-riscv", &firmware);
    // A jump forwards (JAL without a link), which is where the core starts.
    let jump = words[0];
    assert!(jump & 0xfff == 0x6f && jump >> 31 == 0, "{jump:#x}");
    // Of a program for a RISC-V core.
    let expected = [0xffff_ded3, 0x1121_0142, 0x0000_01ff, 0, 0xab12_3579];
    assert_eq!(description, expected);
}
