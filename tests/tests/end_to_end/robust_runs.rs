//! Training runs that are killed, damaged, started twice or diverge.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use lowbit_tests::{Finished, lowbit, random_checkpoint, run};
use serde_json::Value;
use tempfile::TempDir;

const EPOCHS: usize = 5;
const ITERATIONS: usize = 8;

/// A folder with the float network and room for runs.
struct Workshop {
    folder: TempDir,
}

impl Workshop {
    fn new() -> Self {
        // Built now, so that the first run takes no longer than the others.
        let _ = lowbit();
        let folder = tempfile::tempdir().expect("a temporary folder");
        random_checkpoint("resnet8", &folder.path().join("float.safetensors"));
        Self { folder }
    }

    fn run(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A run of a second or two that passes through all phases: ranges only, ranges and student,
    /// student only.
    fn arguments(&self, name: &str) -> Vec<String> {
        let weights = self.folder.path().join("float.safetensors");
        let text = format!(
            "quantize --network resnet8 --weights {} --preset shapes --bits w3a3 --epochs {EPOCHS} \
             --warmup-epochs 1 --observe-epochs 2 --iterations {ITERATIONS} --batch 4 --latent 8 \
             --seed 5 --eval shapes --eval-limit 40 --json --out {}",
            weights.display(),
            self.run(name).display()
        );
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn start(&self, name: &str) -> Child {
        let child = lowbit()
            .args(self.arguments(name))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        child.expect("lowbit starts")
    }

    fn finish(&self, name: &str) -> Finished {
        let finished = run(self.arguments(name));
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        finished
    }
}

/// What two runs that are the same must have in common, byte by byte or line by line.
#[derive(PartialEq)]
struct Result {
    student: Vec<u8>,
    metrics: Vec<Value>,
    checkpoints: Vec<String>,
    best: Vec<u8>,
}

impl Result {
    fn of(run: &Path) -> Self {
        let read = |path: &Path| fs_err::read(path).expect("the run has this file");
        let checkpoints = names(&run.join("checkpoints"));
        let best = checkpoints.iter().find(|name| name.starts_with("best-"));
        let best = best.expect("a best network");
        Self {
            student: read(&run.join("student.safetensors")),
            best: read(&run.join("checkpoints").join(best)),
            metrics: metrics(run),
            checkpoints,
        }
    }

    fn assert_same(&self, other: &Self, case: &str) {
        assert_eq!(self.metrics, other.metrics, "{case}: metrics");
        assert_eq!(self.checkpoints, other.checkpoints, "{case}: checkpoints");
        assert!(self.student == other.student, "{case}: another student");
        assert!(self.best == other.best, "{case}: another best network");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(folder).expect("the folder is there");
    let name = |entry: std::io::Result<fs_err::DirEntry>| {
        let name = entry.expect("an entry").file_name();
        name.into_string().expect("a plain name")
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

/// All lines, without the time that they took.
fn metrics(run: &Path) -> Vec<Value> {
    let text = fs_err::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).expect("a line of JSON");
        line.as_object_mut().expect("an object").remove("seconds");
        line
    };
    text.lines().map(line).collect()
}

fn kill_after(mut child: Child, wait: Duration) {
    std::thread::sleep(wait);
    // SIGKILL, which no program can catch. It may have finished before.
    let _ = child.kill();
    child.wait().expect("it is over");
}

#[test]
fn a_run_killed_at_any_moment_ends_like_one_that_was_not() {
    let workshop = Workshop::new();
    let start = Instant::now();
    workshop.finish("whole");
    let duration = start.elapsed();
    let whole = Result::of(&workshop.run("whole"));
    assert_eq!(whole.metrics.len(), EPOCHS * (ITERATIONS + 1));

    // Moments as the dice gave them, in parts of the whole run's time; those who find another
    // result add theirs.
    let cases: [&[f64]; 3] = [&[0.31, 0.17, 0.58], &[0.08, 0.44, 0.44], &[0.66, 0.23]];
    for (index, moments) in cases.into_iter().enumerate() {
        let name = format!("killed-{index}");
        for moment in moments {
            kill_after(workshop.start(&name), duration.mul_f64(*moment));
            if workshop.run(&name).join("student.safetensors").exists() {
                break;
            }
        }
        if !workshop.run(&name).join("student.safetensors").exists() {
            workshop.finish(&name);
        }
        whole.assert_same(&Result::of(&workshop.run(&name)), &name);
        let left = names(&workshop.run(&name));
        let unfinished = left.iter().any(|name| name.ends_with(".unfinished"));
        assert!(!unfinished, "{left:?}");
    }
}

/// Lets a run go until it has `count` checkpoints of epochs, kills it, and gives their paths.
fn interrupted(workshop: &Workshop, name: &str, count: usize) -> Vec<PathBuf> {
    let folder = workshop.run(name).join("checkpoints");
    let epochs = || -> Vec<PathBuf> {
        let found = if folder.exists() {
            names(&folder)
        } else {
            Vec::new()
        };
        let found = found
            .into_iter()
            .filter(|name| name.starts_with("epoch-") && name.ends_with(".safetensors"));
        found.map(|name| folder.join(name)).collect()
    };
    let child = workshop.start(name);
    let deadline = Instant::now() + Duration::from_secs(120);
    while epochs().len() < count && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    kill_after(child, Duration::ZERO);
    let found = epochs();
    assert_eq!(found.len(), count, "{found:?}");
    found
}

#[test]
fn a_damaged_checkpoint_is_noticed_and_the_one_before_is_taken() {
    let workshop = Workshop::new();
    workshop.finish("whole");
    let whole = Result::of(&workshop.run("whole"));
    let damages: [fn(&mut Vec<u8>); 2] = [
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 16;
        },
    ];
    for (index, damage) in damages.into_iter().enumerate() {
        let name = format!("damaged-{index}");
        let checkpoints = interrupted(&workshop, &name, 2);
        let mut bytes = fs_err::read(&checkpoints[1]).expect("a checkpoint");
        damage(&mut bytes);
        fs_err::write(&checkpoints[1], bytes).expect("it is damaged");
        let resumed = workshop.finish(&name);
        for part in [
            "Falling back",
            "epoch-0002",
            "is damaged",
            "Going on after epoch 1,",
        ] {
            assert!(resumed.stderr.contains(part), "{part}: {}", resumed.stderr);
        }
        whole.assert_same(&Result::of(&workshop.run(&name)), &name);
    }

    let checkpoints = interrupted(&workshop, "lost", 1);
    fs_err::write(&checkpoints[0], b"nothing").expect("it is damaged");
    let refused = run(workshop.arguments("lost"));
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("epoch-0001"), "{}", refused.stderr);
}

#[test]
fn two_processes_do_not_train_in_one_directory() {
    let workshop = Workshop::new();
    let mut first = lowbit()
        .args(long(&workshop))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("lowbit starts");
    let lock = workshop.run("run").join("metrics.jsonl");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !lock.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = run(long(&workshop));
    assert_eq!(second.code, 2, "{}", second.stderr);
    assert!(
        second.stderr.contains("another process is training"),
        "{}",
        second.stderr
    );
    first.kill().expect("it is killed");
    first.wait().expect("it is over");
}

/// A run that does not end by itself.
fn long(workshop: &Workshop) -> Vec<String> {
    let mut arguments = workshop.arguments("run");
    let epochs = arguments.iter().position(|word| word == "--epochs");
    arguments[epochs.expect("a flag") + 1] = "5000".to_owned();
    arguments
}

#[test]
fn a_run_that_diverges_says_where_and_what_is_left() {
    let workshop = Workshop::new();
    let mut arguments = workshop.arguments("run");
    arguments.extend(["--student-learning-rate", "1e30"].map(str::to_owned));
    let finished = run(arguments);
    assert_eq!(finished.code, 1, "{}", finished.stderr);
    // The student starts to learn in the second epoch.
    for part in [
        "epoch 1, iteration",
        "the last good checkpoint is",
        "epoch-0001.safetensors",
        "hint: lower --student-learning-rate",
    ] {
        assert!(
            finished.stderr.contains(part),
            "{part}: {}",
            finished.stderr
        );
    }
    assert_eq!(finished.stdout, "");
}

#[test]
fn the_last_epoch_is_reported_and_the_best_beside_it() {
    let workshop = Workshop::new();
    let json = workshop.finish("run").json();
    let last = metrics(&workshop.run("run")).pop().expect("a line");
    assert_eq!(json["quantized_top1"], last["evaluation"]["top1"]);
    let epoch = json["best"]["epochs"].as_u64().expect("a number");
    let best = format!("best-epoch-{epoch:04}-top1-");
    let files = names(&workshop.run("run").join("checkpoints"));
    assert!(
        files.iter().any(|name| name.starts_with(&best)),
        "{files:?}"
    );
}

#[test]
fn settings_come_from_flags_file_and_preset() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("settings.toml");
    let path = file.display().to_string();
    fs_err::write(
        &file,
        "preset = \"imagenet-resnet50\"\nbits = \"w4a4\"\nbeta = 0.5\n",
    )
    .expect("the settings are written");
    let shown = run(["settings", "--config", &path, "--gamma", "2"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    for line in [
        "beta = 0.5",
        "gamma = 2.0",
        "alpha_ds = 0.1",
        "temperature = 5.0",
    ] {
        assert!(
            shown.stdout.lines().any(|found| found == line),
            "{line}: {}",
            shown.stdout
        );
    }
    fs_err::write(&file, &shown.stdout).expect("the settings are written");
    assert_eq!(run(["settings", "--config", &path]).stdout, shown.stdout);

    fs_err::write(&file, "bits = \"w4a4\"\nlamda_u = 0.7\n").expect("the settings are written");
    let refused = run(["settings", "--config", &path]);
    assert_eq!(refused.code, 2);
    for part in ["settings.toml:2: ", "did you mean `lambda_u`?"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    let missing = run(["settings", "--preset", "cifar10"]);
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("--bits"), "{}", missing.stderr);
}
