//! The real binary on a serial port: a pseudo-terminal with an emulated board at its other end.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lowbit_host::board::transport::{BoardProcess, Transport};
use lowbit_runtime::testing::tiny_model;
use lowbit_tests::{Emulator, Finished, random_network, run};
use serialport::{SerialPort, TTYPort};

const BOARD: &str = "b-l475e-iot01a";
const PATIENCE: Duration = Duration::from_millis(2);

/// A cable between a serial port of this computer and an emulated board.
struct Cable {
    port: String,
    unplugged: Arc<AtomicBool>,
    carrier: Option<JoinHandle<()>>,
    /// Keeps the port open while no program uses it, without the lock of one that does.
    _port: File,
}

impl Cable {
    fn plug(board: BoardProcess) -> Self {
        let (end, port) = TTYPort::pair().expect("there are pseudo-terminals");
        let name = port.name().expect("has a name");
        let open = File::open(&name).expect("can be opened");
        drop(port);
        let unplugged = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&unplugged);
        Self {
            port: name,
            carrier: Some(thread::spawn(move || carry(end, board, &stop))),
            unplugged,
            _port: open,
        }
    }

    fn lowbit(&self, arguments: &[&str]) -> Finished {
        run([arguments, &["--port", &self.port]].concat())
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.unplugged.store(true, Ordering::Relaxed);
        if let Some(carrier) = self.carrier.take() {
            carrier.join().expect("the board is still there");
        }
    }
}

/// Carries bytes both ways until the cable is unplugged.
fn carry(mut end: TTYPort, mut board: BoardProcess, unplugged: &AtomicBool) {
    end.set_timeout(PATIENCE).expect("is a valid time");
    let mut bytes = [0; 4096];
    while !unplugged.load(Ordering::Relaxed) {
        match end.read(&mut bytes) {
            Ok(count) => board.send(&bytes[..count]).expect("the board runs"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}"),
        }
        if let Some(bytes) = board.receive(PATIENCE).expect("the board runs") {
            end.write_all(&bytes).expect("has room");
        }
    }
}

#[test]
fn a_model_is_flashed_and_verified_over_a_serial_port() {
    let name = "a_model_is_flashed_and_verified_over_a_serial_port";
    let Some(emulator) = Emulator::new(name, BOARD) else {
        return;
    };
    let model = emulator.state().join("model.lowbit");
    fs_err::write(&model, random_network("resnet8", 4)).expect("is written");
    let model = model.to_str().expect("is text");
    let cable = Cable::plug(emulator.start());

    let flashed = cable.lowbit(&["flash", "--board", BOARD, model, "--json"]);
    assert_eq!(flashed.code, 0, "{}", flashed.stderr);
    assert_eq!(flashed.json()["board"], BOARD);
    let shapes = ["--data", "shapes", "--limit", "3", "--json"];
    let verified = cable.lowbit(&[&["verify", "--board", BOARD, model], &shapes[..]].concat());
    assert_eq!(verified.code, 0, "{}", verified.stderr);
    assert_eq!(verified.json()["agreement"], 1.0);
}

#[test]
fn another_board_on_the_port_is_named() {
    let Some(emulator) = Emulator::new("another_board_on_the_port_is_named", BOARD) else {
        return;
    };
    let model = emulator.state().join("model.lowbit");
    fs_err::write(&model, tiny_model(1, 1)).expect("is written");
    let model = model.to_str().expect("is text");
    let cable = Cable::plug(emulator.start());
    let other = ["flash", "--board", "mps2-an386", model];

    let refused = cable.lowbit(&other);
    assert_eq!(refused.code, 2);
    let shown = refused.stderr;
    assert!(
        shown.contains("no serial port in its `board.toml`"),
        "{shown}"
    );
    assert!(shown.contains("--baud"), "{shown}");
    let refused = cable.lowbit(&[&other[..], &["--baud", "115200"]].concat());
    assert_eq!(refused.code, 2);
    let shown = refused.stderr;
    assert!(
        shown.contains("is `b-l475e-iot01a`, not `mps2-an386`"),
        "{shown}"
    );
}

#[test]
fn a_missing_port_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("model.lowbit");
    fs_err::write(&model, tiny_model(1, 1)).expect("is written");
    let model = model.to_str().expect("is text");
    let missing = ["flash", "--board", BOARD, model, "--port", "/dev/ttyNONE7"];
    let refused = run(missing);
    assert_eq!(refused.code, 2);
    let shown = refused.stderr;
    assert!(
        shown.contains("there is no serial port `/dev/ttyNONE7`"),
        "{shown}"
    );
}

#[test]
fn boards_lists_serial_ports() {
    let listed = run(["boards", "--json"]).json();
    assert!(listed["ports"].is_array(), "{listed}");
}
