//! The board `linux`: the service as a program, over standard input and output and over TCP.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lowbit_host::board::transport::TcpLine;
use lowbit_host::board::{Cause, Client, Error, Settings};
use lowbit_host::integer::IntegerNetwork;
use lowbit_host::keys::SecretKey;
use lowbit_host::pack;
use lowbit_runtime::testing::tiny_model;
use lowbit_tests::{Finished, finish, noise_images, random_network, run, run_build};

const MODEL: &str = "model.lowbit";

/// A program that listens on a port of this computer.
struct Listening {
    child: Child,
    address: String,
}

impl Listening {
    fn start(program: &Path, state: &Path) -> Self {
        Self::with(program, state, &[])
    }

    fn with(program: &Path, state: &Path, flags: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(["--listen", "127.0.0.1:0", "--state"])
            .arg(state)
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut line = String::new();
        let errors = child.stderr.take().expect("is piped");
        BufReader::new(errors)
            .read_line(&mut line)
            .expect("says where");
        let address = line
            .trim()
            .rsplit(' ')
            .next()
            .unwrap_or_default()
            .to_owned();
        Self { child, address }
    }

    fn connect(&self) -> Client {
        let line = TcpLine::connect(&self.address).expect("listens");
        Client::connect(Box::new(line), Settings::default()).expect("answers")
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.child.kill().expect("is there");
        self.child.wait().expect("ends");
    }
}

fn lowbit(arguments: &[&str], folder: &Path, link: &[&str]) -> Finished {
    let model = folder.join(MODEL);
    let model = model.to_str().expect("is text");
    run([
        &[arguments[0], "--board", "linux", model],
        &arguments[1..],
        link,
    ]
    .concat())
}

/// Writes a model and verifies it, twice, the second time after the program has ended.
fn flash_and_verify(folder: &Path, link: &[&str]) {
    let flashed = lowbit(&["flash", "--json"], folder, link);
    assert_eq!(flashed.code, 0, "{}", flashed.stderr);
    assert_eq!(flashed.json()["board"], "linux");
    let again = lowbit(&["flash", "--json"], folder, link);
    assert_eq!(again.json()["unchanged"], true, "{}", again.stderr);
    let verify = [
        "verify", "--data", "shapes", "--limit", "20", "--layers", "--json",
    ];
    let verified = lowbit(&verify, folder, link);
    assert_eq!(verified.code, 0, "{}", verified.stderr);
    assert_eq!(verified.json()["agreement"], 1.0);
}

#[test]
fn a_model_is_flashed_and_verified_as_a_process_of_this_computer() {
    run_build(&["linux"]).expect("builds");
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs_err::write(folder.path().join(MODEL), random_network("resnet8", 4)).expect("is written");
    let state = folder.path().join("state");
    flash_and_verify(
        folder.path(),
        &["--state", state.to_str().expect("is text")],
    );
}

#[test]
fn a_model_is_flashed_and_verified_over_tcp() {
    let program = run_build(&["linux"]).expect("builds");
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs_err::write(folder.path().join(MODEL), random_network("resnet8", 3)).expect("is written");
    let listening = Listening::start(&program, folder.path());
    let link = format!("tcp:{}", listening.address);
    flash_and_verify(folder.path(), &["--connect", &link]);
    drop(listening);
    let refused = lowbit(&["flash"], folder.path(), &["--connect", &link]);
    assert_eq!(refused.code, 2);
    assert!(
        refused.stderr.contains("cannot connect to 127.0.0.1:"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_program_with_a_key_takes_what_was_signed_with_it_and_nothing_older() {
    let program = run_build(&["linux"]).expect("builds");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [public, text] = ["release.pub", "text"].map(|name| folder.path().join(name));
    let key = SecretKey::generate().expect("is generated");
    key.public().write(&public).expect("is written");
    fs_err::write(&text, "no key").expect("is written");
    for (file, reason) in [
        (&text, "is no public key"),
        (&folder.path().join("absent"), "failed to open"),
    ] {
        let state = folder.path().join("state");
        let mut command = Command::new(&program);
        let refused = finish(command.arg("--state").arg(&state).arg("--key").arg(file));
        assert_eq!(refused.code, 2);
        assert!(refused.stderr.contains(reason), "{}", refused.stderr);
        assert!(!state.exists());
    }

    let model = |version: u32, key: Option<&SecretKey>| {
        let mut model = tiny_model(version.into(), 0);
        pack::release(&mut model, version, key).expect("is a model");
        model
    };
    let start = || {
        let public = public.to_str().expect("is text");
        let flags = ["--key", public, "--refuse-downgrades"];
        Listening::with(&program, folder.path(), &flags)
    };
    let flash = |client: &mut Client, model: &[u8]| client.flash(model, &mut |_| {});
    let refused = |client: &mut Client, model: &[u8]| match flash(client, model) {
        Err(Error::Refused { cause, .. }) => cause,
        other => panic!("{other:?}"),
    };
    let listening = start();
    let mut client = listening.connect();
    assert_eq!(refused(&mut client, &model(2, None)), Cause::Unsigned);
    let strange = SecretKey::generate().expect("is generated");
    let forged = model(2, Some(&strange));
    assert_eq!(refused(&mut client, &forged), Cause::Signature);
    let taken = flash(&mut client, &model(2, Some(&key))).expect("is taken");
    drop(client);
    drop(listening);

    let listening = start();
    let mut client = listening.connect();
    assert_eq!(client.greeting().model, Some(taken));
    let older = model(1, Some(&key));
    assert_eq!(refused(&mut client, &older), Cause::Downgrade);
    assert_eq!(client.infer(&[0; 4]).expect("runs").logits[0], 2);
    drop(client);
    drop(listening);

    // Without the key, anything goes; with it again, what came meanwhile is not used.
    let listening = Listening::start(&program, folder.path());
    flash(&mut listening.connect(), &model(9, None)).expect("is taken");
    drop(listening);
    assert_eq!(start().connect().greeting().model, Some(taken));
}

/// Sends a command of the MLPerf Tiny benchmark as its runner does, and returns the lines up to
/// `m-ready`.
fn command(stream: &mut BufReader<TcpStream>, command: &str) -> Vec<String> {
    let sent = stream.get_mut().write_all(format!("{command}%").as_bytes());
    sent.expect("is sent");
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).expect("is answered");
        match line.trim_end() {
            "m-ready" => return lines,
            line => lines.push(line.to_owned()),
        }
    }
}

#[test]
fn the_benchmarks_runner_can_drive_a_board() {
    let program = run_build(&["linux"]).expect("builds");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = random_network("resnet8", 8);
    let listening = Listening::start(&program, folder.path());
    let flashed = listening.connect().flash(&model, &mut |_| {});
    flashed.expect("is taken");
    let stream = TcpStream::connect(&listening.address).expect("listens");
    let mut stream = BufReader::new(stream);
    assert_eq!(command(&mut stream, "name"), ["m-name-dut-[linux]"]);
    assert_eq!(command(&mut stream, "profile")[1], "m-model-[ic01]");
    let network = IntegerNetwork::new(&model).expect("is a model");
    for image in noise_images(3).images() {
        assert_eq!(
            command(&mut stream, "db load 3072"),
            ["m-[Expecting 3072 bytes]"]
        );
        let mut last = Vec::new();
        for part in image.chunks(31) {
            let digits: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
            last = command(&mut stream, &format!("db {digits}"));
        }
        assert_eq!(last, ["m-load-done"]);
        let lines = command(&mut stream, "infer 3 1");
        let time = |line: &str| {
            line.strip_prefix("m-lap-us-")
                .and_then(|us| us.parse::<u64>().ok())
        };
        assert!(time(&lines[3]).expect("a time") <= time(&lines[4]).expect("a time"));
        let results = lines[6]
            .trim_start_matches("m-results-[")
            .trim_end_matches(']');
        let results: Vec<f64> = results
            .split(',')
            .map(|p| p.parse().expect("a number"))
            .collect();
        let logits = network.logits(image).expect("runs");
        let exponentials = logits
            .iter()
            .map(|&logit| (f64::from(logit) / 65536.0).exp());
        let sum: f64 = exponentials.clone().sum();
        for (found, expected) in results.iter().zip(exponentials) {
            assert!((found - expected / sum).abs() < 1e-3, "{results:?}");
        }
    }
}

#[test]
fn both_slots_are_used_and_the_newest_model_survives_the_program() {
    let program = run_build(&["linux"]).expect("builds");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut slots = Vec::new();
    for number in 0..4 {
        let listening = Listening::start(&program, folder.path());
        let mut client = listening.connect();
        let before = client.greeting().model.map(|model| model.identity);
        assert_eq!(before, (number > 0).then(|| [number - 1; 32]));
        let model = tiny_model(number.into(), number);
        client.flash(&model, &mut |_| {}).expect("is taken");
        slots.push(client.info().expect("answers").slot);
    }
    assert_eq!(slots, [Some(0), Some(1), Some(0), Some(1)]);
}

#[test]
fn models_are_used_by_one_program_at_a_time() {
    let program = run_build(&["linux"]).expect("builds");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let _first = Listening::start(&program, folder.path());
    let second = Command::new(&program)
        .arg("--state")
        .arg(folder.path())
        .output();
    let second = second.expect("starts");
    assert_eq!(second.status.code(), Some(2));
    let shown = String::from_utf8_lossy(&second.stderr);
    assert!(shown.contains("in use by another process"), "{shown}");
}
