//! Firmware that trusts one key takes the models that this key has signed, and nothing else.

use std::path::{Path, PathBuf};

use lowbit_host::board::transport::BoardProcess;
use lowbit_host::board::{Cause, Client, Error, ModelInfo, Settings};
use lowbit_host::keys::SecretKey;
use lowbit_host::pack;
use lowbit_runtime::format::{SIGNATURE_BYTES, content_checksum};
use lowbit_runtime::testing::tiny_model;
use lowbit_tests::{Emulator, build_script, run};

const BOARD: &str = "mps2-an386";

/// Builds the firmware that trusts `key` and does not go back to older models.
fn build(key: &Path) -> PathBuf {
    let output = build_script()
        .arg(BOARD)
        .env("LOWBIT_MODEL_KEY", key)
        .env("LOWBIT_REFUSE_DOWNGRADES", "1")
        .output()
        .expect("there is that script");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// A model that adds its version to what it computes, signed with `key`.
fn signed(version: u32, key: &SecretKey) -> Vec<u8> {
    let mut model = tiny_model(version.into(), 0);
    pack::release(&mut model, version, Some(key)).expect("is a model");
    model
}

/// `model` with another bias, and the checksum that belongs to it.
fn tampered(mut model: Vec<u8>) -> Vec<u8> {
    // Two biases of 8 bytes and as many shifts of one end it.
    const BIASES_FROM_END: usize = 18;
    let content = model.len() - SIGNATURE_BYTES;
    model[content - BIASES_FROM_END] ^= 2;
    let checksum = content_checksum(&model[..content]);
    model[24..28].copy_from_slice(&checksum.to_le_bytes());
    model
}

struct Board<'a> {
    emulator: &'a Emulator,
    firmware: PathBuf,
}

impl Board<'_> {
    fn start(&self) -> Client {
        let Self { emulator, firmware } = self;
        let process = BoardProcess::start(&emulator.board, firmware, emulator.state());
        Client::connect(Box::new(process.expect("starts")), Settings::default()).expect("answers")
    }
}

fn flash(client: &mut Client, model: &[u8]) -> Result<ModelInfo, Error> {
    client.flash(model, &mut |_| {})
}

#[track_caller]
fn assert_refused(client: &mut Client, model: &[u8], expected: Cause) {
    let error = flash(client, model).expect_err("is refused");
    assert!(
        matches!(&error, Error::Refused { cause, .. } if *cause == expected),
        "{error}"
    );
}

fn first_logit(client: &mut Client) -> i32 {
    client.infer(&[0; 4]).expect("runs").logits[0]
}

#[test]
fn a_board_with_a_key_takes_nothing_else_than_what_was_signed_with_it() {
    let name = "a_board_with_a_key_takes_nothing_else_than_what_was_signed_with_it";
    let Some(emulator) = Emulator::new(name, BOARD) else {
        return;
    };
    let place = emulator.state().join("release").display().to_string();
    let made = run(["keys", "new", &place]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let again = run(["keys", "new", &place]);
    assert!(
        again.code == 2 && again.stderr.contains("never overwritten"),
        "{}",
        again.stderr
    );
    let [secret, public] = ["key", "pub"].map(|end| PathBuf::from(format!("{place}.{end}")));
    let key = SecretKey::read(&secret).expect("is a key");
    let board = Board {
        emulator: &emulator,
        firmware: build(&public),
    };

    let mut client = board.start();
    assert_refused(&mut client, &tiny_model(0, 0), Cause::Unsigned);
    let strange = SecretKey::generate().expect("is generated");
    assert_refused(&mut client, &signed(5, &strange), Cause::Signature);
    assert_refused(&mut client, &tampered(signed(5, &key)), Cause::Signature);
    drop(client);
    assert_eq!(board.start().greeting().model, None);

    let mut client = board.start();
    let taken = flash(&mut client, &signed(5, &key)).expect("is taken");
    assert_refused(&mut client, &signed(4, &key), Cause::Downgrade);
    assert_eq!(first_logit(&mut client), 5);
    drop(client);
    let mut client = board.start();
    assert_eq!(client.greeting().model, Some(taken));
    assert_refused(&mut client, &signed(4, &key), Cause::Downgrade);
    assert_refused(&mut client, &tampered(signed(6, &key)), Cause::Signature);
    flash(&mut client, &signed(6, &key)).expect("is taken");
    assert_eq!(first_logit(&mut client), 6);
    drop(client);

    // Firmware without a key takes everything, and what it left is not used.
    let newest = flash(&mut emulator.connect(), &tiny_model(9, 0)).expect("is taken");
    assert_eq!(emulator.connect().greeting().model, Some(newest));
    assert_eq!(first_logit(&mut board.start()), 6);

    check_commands(&board, &key, &public);
}

/// The same through the command line, on an empty board.
fn check_commands(board: &Board<'_>, key: &SecretKey, public: &Path) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let [plain, model] = ["plain.lowbit", "signed.lowbit"].map(path);
    fs_err::write(&plain, tiny_model(0, 0)).expect("is written");
    fs_err::write(&model, signed(3, key)).expect("is written");

    let state = folder.path().display().to_string();
    let firmware = board.firmware.parent().expect("has a folder");
    let firmware = firmware.display().to_string();
    let flash = |model: &str| {
        let place = ["--firmware-dir", &firmware, "--state", &state];
        run([&["flash", "--board", BOARD, model][..], &place].concat())
    };
    let refused = flash(&plain);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("no signature") && refused.stderr.contains("--sign KEY"));
    let taken = flash(&model);
    assert_eq!(taken.code, 0, "{}", taken.stderr);

    let public = public.display().to_string();
    let inspect = |model: &str| run(["inspect", model, "--key", &public, "--json"]);
    let shown = inspect(&model);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    let shown = shown.json();
    assert_eq!(
        (&shown["version"], &shown["signature"]),
        (&3.into(), &"valid".into())
    );
    let shown = inspect(&plain);
    assert_eq!(
        (shown.code, &shown.json()["signature"]),
        (1, &"none".into())
    );
}
