//! The main job with a real network: quantize, pack, eval, flash and verify CIFAR-10's ResNet-20
//! by the commands that a user types.

use std::path::Path;

use lowbit_tests::{Emulator, Finished, data, lowbit, run};

/// Checkpoint and test set, or `None` with a line that names the skipped test.
fn cifar10(test: &str) -> Option<(String, String)> {
    let weights = data(test, "cifar10_resnet20.safetensors")?;
    let images = data(test, "cifar10_test.bin")?;
    Some((
        weights.display().to_string(),
        format!("cifar10:{}", images.display()),
    ))
}

fn done(finished: Finished) -> serde_json::Value {
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    finished.json()
}

fn number(json: &serde_json::Value, key: &str) -> f64 {
    json[key]
        .as_f64()
        .unwrap_or_else(|| panic!("`{key}` is no number in {json}"))
}

/// `lowbit quantize` for CIFAR-10's ResNet-20 with more flags, separated by blanks, and images to
/// measure on, with their number.
fn quantize_arguments(
    weights: &str,
    out: &Path,
    flags: &str,
    images: Option<(&str, &str)>,
) -> Vec<String> {
    let fixed = "quantize --network resnet20 --preset cifar10 --json";
    let words = fixed.split_whitespace().chain(flags.split_whitespace());
    let out = out.display().to_string();
    let paths = ["--weights", weights, "--out", &out];
    let images = images.map(|(images, limit)| ["--eval", images, "--eval-limit", limit]);
    words
        .chain(paths)
        .chain(images.into_iter().flatten())
        .map(str::to_owned)
        .collect()
}

fn quantize(weights: &str, out: &Path, flags: &str, images: (&str, &str)) -> Finished {
    run(quantize_arguments(weights, out, flags, Some(images)))
}

#[test]
fn resnet20_goes_from_checkpoint_to_board() {
    let test = "resnet20_goes_from_checkpoint_to_board";
    let Some((weights, images)) = cifar10(test) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (out, model) = (
        folder.path().join("run"),
        folder.path().join("model.lowbit"),
    );
    let (run_path, model) = (out.display().to_string(), model.display().to_string());

    // As short as the method allows: it shows that every part works, not what it reaches.
    let flags = "--classes 10 --bits w4a4 --epochs 3 --warmup-epochs 2 --iterations 30 --seed 1";
    let trained = done(quantize(&weights, &out, flags, (&images, "1000")));
    // 90 iterations bring the ranges near their place; the authors' code reaches 88 % after 200.
    assert!(number(&trained, "quantized_top1") > 80.0, "{trained}");

    // A finished run is worth hours.
    let again = quantize(&weights, &out, flags, (&images, "1000"));
    assert_eq!(again.code, 2);
    assert!(again.stderr.contains("finished run"), "{}", again.stderr);

    // A board without a key takes signed models as well.
    let release = folder.path().join("release").display().to_string();
    done(run(["keys", "new", &release, "--json"]));
    let pack = ["pack", &run_path, "--out", &model, "--json"];
    let sign = ["--sign", &format!("{release}.key"), "--model-version", "3"];
    let packed = done(run([&pack[..], &sign].concat()));
    assert_eq!(packed["signed"], true);
    assert!(number(&packed, "model_bytes") <= 160.0 * 1024.0, "{packed}");
    assert!(number(&packed, "arena_bytes") <= 64.0 * 1024.0, "{packed}");

    let other = folder.path().join("other.lowbit").display().to_string();
    let plain = done(run(["pack", &run_path, "--out", &other, "--json"]));
    let again = [
        "pack",
        &run_path,
        "--out",
        &other,
        "--recalibrate",
        "--json",
    ];
    let again = done(run(again));
    let found = &again["recalibration"];
    assert_eq!(number(found, "images"), 64.0);
    let helps = number(found, "agreeing_after") >= number(found, "agreeing_before")
        && number(found, "divergence_after") < number(found, "divergence_before");
    assert_eq!(found["accepted"], helps, "{found}");
    assert_eq!(again["identity"] != plain["identity"], helps, "{found}");

    let public = format!("{release}.pub");
    let inspected = done(run(["inspect", &model, "--key", &public, "--json"]));
    assert_eq!(
        (&inspected["version"], &inspected["signature"]),
        (&3.into(), &"valid".into())
    );
    assert_eq!(inspected["layers"][0]["op"], "input table");
    assert_eq!(number(&inspected, "macs"), 40_551_040.0);
    for key in [
        "name",
        "op",
        "weight_bits",
        "activation_bits",
        "macs",
        "weight_bytes",
    ] {
        assert!(
            !inspected["layers"][1][key].is_null(),
            "`{key}` in {inspected}"
        );
    }

    let eval = |flags: &[&str]| {
        let fixed = [
            "eval", &model, "--data", &images, "--limit", "1000", "--json",
        ];
        done(run(fixed.iter().chain(flags)))
    };
    let (integers, fake) = (eval(&[]), eval(&["--fake-quant"]));
    let difference = number(&integers, "top1") - number(&fake, "top1");
    assert!(
        difference.abs() <= 1.0,
        "integers {integers}, fake-quantized {fake}"
    );
    assert_eq!(number(&fake, "top1"), number(&trained, "quantized_top1"));

    let Some(emulator) = Emulator::new(test, "mps2-an386") else {
        return;
    };
    let state = emulator.state().display().to_string();
    let board = ["--board", "mps2-an386", "--state", &state];
    let verify = |limit: &str| {
        let verify = [
            "verify", &model, "--data", &images, "--limit", limit, "--layers", "--json",
        ];
        run(verify.iter().chain(&board))
    };
    let without_model = verify("1");
    assert_eq!(without_model.code, 2);
    assert!(
        without_model.stderr.contains("lowbit flash"),
        "{}",
        without_model.stderr
    );
    let flashed = done(run(["flash", &model, "--json"].iter().chain(&board)));
    assert_eq!(flashed["unchanged"], false);
    let verdict = done(verify("10"));
    assert_eq!(number(&verdict, "agreement"), 1.0);
    assert_eq!(number(&verdict, "images"), 10.0);
    assert_eq!(verdict["board_top1"], verdict["quantized_top1"]);
    for key in [
        "float_top1",
        "model_bytes",
        "arena_bytes",
        "stack_bytes",
        "instructions_per_inference",
    ] {
        assert!(number(&verdict, key) > 0.0, "`{key}` in {verdict}");
    }
}

/// Through the game, the refinement and the packed file, which the board's engine reads.
#[test]
fn layers_have_widths_of_their_own() {
    let test = "layers_have_widths_of_their_own";
    let Some((weights, images)) = cifar10(test) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("run");
    let widths = "w4a4,first=w8a8,last=w6a7,layer1.0.conv1=w3a5";
    let flags = format!(
        "--bits {widths} --epochs 1 --warmup-epochs 1 --iterations 3 --refinement-epochs 1 \
         --refinement-pool 48 --refinement-dropped 0.5"
    );
    done(quantize(&weights, &out, &flags, (&images, "10")));
    let model = folder.path().join("model.lowbit").display().to_string();
    let out = out.display().to_string();
    done(run(["pack", &out, "--out", &model, "--json"]));
    let inspected = done(run(["inspect", &model, "--json"]));
    let layer = |name: &str| {
        let layers = inspected["layers"].as_array().expect("layers");
        let layer = layers.iter().find(|layer| layer["name"] == name);
        let layer = layer.unwrap_or_else(|| panic!("no `{name}` in {inspected}"));
        (
            layer["weight_bits"].clone(),
            layer["activation_bits"].clone(),
        )
    };
    assert_eq!(layer("conv1"), (8.into(), 5.into()));
    assert_eq!(layer("layer1.0.conv1"), (3.into(), 4.into()));
    assert_eq!(layer("layer3.2.conv2"), (4.into(), 7.into()));
    assert_eq!(layer("linear").0, 6);
}

#[test]
fn the_float_network_reaches_its_published_accuracy() {
    let test = "the_float_network_reaches_its_published_accuracy";
    let Some((weights, images)) = cifar10(test) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let flags = "--bits w8a8 --epochs 1 --warmup-epochs 1 --iterations 20";
    let trained = done(quantize(
        &weights,
        &folder.path().join("run"),
        flags,
        (&images, "10000"),
    ));
    assert_eq!(number(&trained, "float_top1"), 91.73);
}

#[test]
fn the_same_seed_gives_the_same_network() {
    let test = "the_same_seed_gives_the_same_network";
    let Some((weights, images)) = cifar10(test) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let student = |name: &str, seed: &str| {
        let flags =
            format!("--bits w4a4 --epochs 2 --warmup-epochs 1 --iterations 3 --seed {seed}");
        done(quantize(
            &weights,
            &folder.path().join(name),
            &flags,
            (&images, "10"),
        ));
        fs_err::read(folder.path().join(name).join("student.safetensors")).expect("a student")
    };
    let first = student("first", "7");
    assert!(first == student("second", "7"), "two runs of seed 7 differ");
    assert!(
        first != student("third", "8"),
        "seeds 7 and 8 give the same network"
    );
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_network() {
    let test = "an_interrupted_run_goes_on_to_the_same_network";
    let Some((weights, _)) = cifar10(test) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let flags = "--bits w4a4 --epochs 2 --warmup-epochs 1 --iterations 8 --seed 3";
    let arguments =
        |name: &str| quantize_arguments(&weights, &folder.path().join(name), flags, None);
    let student = |name: &str| {
        fs_err::read(folder.path().join(name).join("student.safetensors")).expect("a student")
    };
    done(run(arguments("whole")));

    let mut child = lowbit()
        .args(arguments("parts"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("lowbit starts");
    // Killed, not asked: after the first checkpoint or soon after.
    let checkpoint = folder
        .path()
        .join("parts/checkpoints/epoch-0001.safetensors");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while !checkpoint.exists() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child.kill().expect("the run is killed");
    child.wait().expect("the run is over");
    assert!(checkpoint.exists(), "no checkpoint after two minutes");

    let mut others = arguments("parts");
    others.extend(["--batch".to_owned(), "8".to_owned()]);
    let refused = run(others);
    assert_eq!(refused.code, 2);
    assert!(
        refused.stderr.contains("other settings"),
        "{}",
        refused.stderr
    );

    let resumed = run(arguments("parts"));
    assert!(
        resumed.stderr.contains("Going on after epoch 1"),
        "{}",
        resumed.stderr
    );
    done(resumed);
    assert!(
        student("whole") == student("parts"),
        "the resumed run ends elsewhere"
    );
}
