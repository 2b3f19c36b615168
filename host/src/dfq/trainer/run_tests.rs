//! Runs from start to end: files, interruption, resumption, failure.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use super::{method_tests::some_batch, *};
use crate::{
    dfq::{Error, Unwatched, golden::flat, methods::NetworkGradient, refinement::Settings},
    graph::{NodeId, Normalization, Op},
    zoo::{self, RandomParameters},
};

pub(super) fn teacher() -> Graph {
    let normalization = Normalization {
        mean: vec![0.4, 0.5, 0.6],
        std: vec![0.2, 0.25, 0.3],
    };
    let network = zoo::network("resnet8").unwrap();
    network
        .build(&mut RandomParameters::new(5), 10, normalization)
        .unwrap()
}

/// Epoch 0 observes only, epoch 1 observes and learns, epoch 2 learns with frozen ranges.
pub(super) fn config() -> Config {
    Config {
        epochs: 3,
        warmup_epochs: 1,
        observe_epochs: 2,
        iterations: 2,
        batch: 4,
        latent: 8,
        seed: 11,
        ..Config::default()
    }
}

fn run(trainer: &mut Trainer, directory: &RunDirectory, watcher: &mut dyn Watcher) -> Outcome {
    trainer
        .run(directory, watcher, &AtomicBool::new(false))
        .unwrap()
}

fn parameters(trainer: &Trainer) -> Vec<Vec<f32>> {
    let student = trainer.quantized_graph().unwrap().graph;
    let student = student
        .parameters()
        .into_iter()
        .map(|(_, tensor)| flat(tensor));
    let generator = trainer.generator.parameters();
    student
        .chain(generator.into_iter().map(|(_, tensor)| flat(tensor)))
        .collect()
}

/// Stops after a number of iterations.
struct StopAfter<'a> {
    iterations: usize,
    stop: &'a AtomicBool,
    checkpoints: Vec<PathBuf>,
}

impl Watcher for StopAfter<'_> {
    fn iteration(&mut self, _: &Iteration) {
        self.iterations -= 1;
        self.stop.store(self.iterations == 0, Ordering::Relaxed);
    }

    fn checkpoint(&mut self, path: &Path) {
        self.checkpoints.push(path.to_owned());
    }
}

#[test]
fn the_same_seed_gives_the_same_networks_and_another_one_others() {
    let folder = tempfile::tempdir().unwrap();
    let train = |seed| {
        let config = Config { seed, ..config() };
        let directory = RunDirectory::create(folder.path(), &config).unwrap();
        let mut trainer = Trainer::new(teacher(), config).unwrap();
        assert_eq!(
            run(&mut trainer, &directory, &mut Unwatched),
            Outcome::Finished
        );
        (parameters(&trainer), trainer.sample_images(5).unwrap())
    };
    let first = train(1);
    assert_eq!(first, train(1));
    assert_ne!(first, train(2));
}

#[test]
fn a_gradient_within_the_student_reaches_what_lies_before_it() {
    let mut trainer = Trainer::new(teacher(), config()).unwrap();
    let batch = some_batch(&mut trainer);
    let student = trainer.student.trained();
    let is_relu = |node: &crate::graph::Node| matches!(node.op, Op::Relu);
    let relu = student.nodes.iter().position(is_relu).unwrap();
    let ids: Vec<usize> = student
        .parameters()
        .iter()
        .map(|((id, _), _)| id.0)
        .collect();
    let value = batch.student.value(NodeId(relu)).unwrap();
    let gradient = NetworkGradient {
        logits: vec![0.0; 40],
        nodes: [(NodeId(relu), value.ones_like().unwrap())].into(),
    };
    let gradients = trainer
        .student_gradients(&batch.student, &gradient)
        .unwrap();
    for (node, gradient) in ids.into_iter().zip(gradients) {
        let moves = flat(&gradient).iter().any(|&g| g != 0.0);
        assert_eq!(moves, node < relu, "node {node}");
    }
}

/// Turns images into their negatives.
#[derive(Debug)]
struct Negative;

impl ImageFilter for Negative {
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        Ok(images.neg()?)
    }

    fn backward(&self, _: &Tensor, grad: &Tensor) -> Result<Tensor> {
        Ok(grad.neg()?)
    }
}

#[test]
fn networks_see_filtered_images_and_the_generator_their_gradient() {
    let trainer = Trainer::new(teacher(), config()).unwrap();
    let mut trainer = trainer.with_image_filter(Arc::new(Negative));
    let batch = some_batch(&mut trainer);
    let negative = batch.generated.image().neg().unwrap();
    assert_eq!(flat(&batch.images), flat(&negative));
    let seen = trainer.teacher.forward(&negative).unwrap();
    assert_eq!(flat(batch.teacher.output()), flat(seen.output()));

    let (_, filtered) = trainer.generator_gradients(&batch).unwrap();
    trainer.filter = None;
    let (_, plain) = trainer.generator_gradients(&batch).unwrap();
    for (filtered, plain) in filtered.iter().zip(&plain) {
        assert_eq!(flat(filtered), flat(&plain.neg().unwrap()));
    }
}

/// Adds 1 to the bias of the last layer.
#[derive(Debug)]
struct Raise;

impl Stage for Raise {
    fn name(&self) -> &'static str {
        "raise"
    }

    fn apply(&self, mut student: Student, material: &mut Material<'_>) -> Result<Student> {
        assert_eq!(material.images.next_batch()?.labels.len(), config().batch);
        student.update(|parameters| {
            let bias = parameters.last_mut().unwrap();
            **bias = (&**bias + 1.0)?;
            Ok(())
        })?;
        Ok(student)
    }
}

#[test]
fn stages_change_what_comes_of_training_and_not_the_training() {
    let mut trainer = Trainer::new(teacher(), config()).unwrap();
    trainer.step().unwrap();
    let bias = |network: &QuantizedGraph| {
        let parameters = network.graph.parameters();
        flat(parameters.last().unwrap().1)
    };
    let before = bias(&trainer.quantized_graph().unwrap());
    let stages: [Box<dyn Stage>; 2] = [Box::new(Raise), Box::new(Raise)];
    let finished = trainer.finish(&stages, &AtomicBool::new(false)).unwrap();
    let raised: Vec<f32> = before.iter().map(|b| b + 1.0 + 1.0).collect();
    assert_eq!(bias(&finished), raised);
    assert_eq!(bias(&trainer.quantized_graph().unwrap()), before);
}

#[test]
fn a_run_leaves_settings_metrics_and_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("parent/run");
    let directory = RunDirectory::create(&folder, &config()).unwrap();
    let mut trainer = Trainer::new(teacher(), config()).unwrap();
    run(&mut trainer, &directory, &mut Unwatched);

    assert_eq!(RunDirectory::open(&folder).unwrap().1, config());
    let metrics = fs_err::read_to_string(directory.metrics_path()).unwrap();
    let lines: Vec<serde_json::Value> = metrics
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<&str> = lines
        .iter()
        .map(|line| line["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["iteration", "iteration", "epoch"].repeat(3));
    assert_eq!(lines[7]["epoch"], 2);
    assert_eq!(lines[7]["iteration"], 1);
    assert!(lines[7]["losses"]["student"].as_f64().unwrap() < 0.0);
    assert_eq!(lines[2]["student_learning_rate"], 0.0);
    assert_eq!(lines[5]["student_learning_rate"], 1e-4);
    let mut names: Vec<String> = fs_err::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "checkpoints",
            "config.toml",
            "events.out.tfevents.0.lowbit",
            "metrics.jsonl",
            "run.lock"
        ]
    );
}

#[test]
fn an_interrupted_run_goes_on_as_if_it_had_not_been() {
    let folder = tempfile::tempdir().unwrap();
    let directory = RunDirectory::create(folder.path(), &config()).unwrap();
    let mut whole = Trainer::new(teacher(), config()).unwrap();
    run(&mut whole, &directory, &mut Unwatched);

    // In the middle of every epoch: no momentum yet, momentum and observed ranges, frozen ranges.
    for iterations in [1, 3, 5] {
        let stop = AtomicBool::new(false);
        let mut watcher = StopAfter {
            iterations,
            stop: &stop,
            checkpoints: Vec::new(),
        };
        let folder = folder.path().join(iterations.to_string());
        let directory = RunDirectory::create(folder, &config()).unwrap();
        let mut trainer = Trainer::new(teacher(), config()).unwrap();
        let outcome = trainer.run(&directory, &mut watcher, &stop).unwrap();
        assert_eq!(outcome, Outcome::Interrupted);
        assert_eq!(watcher.checkpoints.len(), iterations / 2 + 1);

        let archive = directory.resume_point().unwrap().unwrap().archive;
        let fresh = Trainer::new(teacher(), config()).unwrap();
        let mut resumed = fresh.restore(&archive).unwrap();
        assert_eq!(resumed.progress(), trainer.progress());
        run(&mut resumed, &directory, &mut Unwatched);
        assert_eq!(parameters(&resumed), parameters(&whole));
        let ranges = |trainer: &Trainer| trainer.quantized_graph().unwrap().activations;
        assert_eq!(ranges(&resumed), ranges(&whole));
        assert_eq!(resumed.progress(), whole.progress());
    }
}

/// A game of one epoch, a refinement of two.
fn refined_config() -> Config {
    Config {
        epochs: 1,
        refinement: Settings {
            epochs: 2,
            batch: 3,
            pool: 10,
            ..Settings::default()
        },
        ..config()
    }
}

#[test]
fn an_interrupted_refinement_goes_on_as_if_it_had_not_been() {
    let folder = tempfile::tempdir().unwrap();
    let directory = RunDirectory::create(folder.path(), &refined_config()).unwrap();
    let mut whole = Trainer::new(teacher(), refined_config()).unwrap();
    run(&mut whole, &directory, &mut Unwatched);
    assert_eq!(whole.progress().epoch, 3);

    // At the end of the game, then before and after the middle of the refinement.
    for iterations in [2, 3, 5] {
        let stop = AtomicBool::new(false);
        let mut watcher = StopAfter {
            iterations,
            stop: &stop,
            checkpoints: Vec::new(),
        };
        let folder = folder.path().join(iterations.to_string());
        let directory = RunDirectory::create(folder, &refined_config()).unwrap();
        let mut trainer = Trainer::new(teacher(), refined_config()).unwrap();
        trainer.run(&directory, &mut watcher, &stop).unwrap();
        let archive = directory.resume_point().unwrap().unwrap().archive;
        let fresh = Trainer::new(teacher(), refined_config()).unwrap();
        let mut resumed = fresh.restore(&archive).unwrap();
        assert_eq!(resumed.refinement.is_some(), iterations > 2);
        run(&mut resumed, &directory, &mut Unwatched);
        assert_eq!(parameters(&resumed), parameters(&whole));
        let [resumed, whole] = [&resumed, &whole].map(|t| t.quantized_graph().unwrap());
        assert_eq!(resumed.activations, whole.activations);
        assert_eq!(resumed.weight_ranges.len(), whole.weight_ranges.len());
        let pairs = resumed.weight_ranges.iter().zip(&whole.weight_ranges);
        for ((_, resumed), (_, whole)) in pairs {
            assert_eq!(flat(resumed), flat(whole));
        }
    }
}

#[test]
fn a_checkpoint_of_another_network_is_refused() {
    let mut trainer = Trainer::new(teacher(), config()).unwrap();
    trainer.step().unwrap();
    let complete = trainer.archive().unwrap();

    let without = |name: &str| {
        let mut archive = complete.clone();
        archive.tensors.remove(name);
        archive.notes.remove(name);
        archive
    };
    for name in [
        "ranges",
        "losses",
        "epoch",
        "random position",
        "generator/l1.0.weight",
    ] {
        let fresh = Trainer::new(teacher(), config()).unwrap();
        let error = fresh.restore(&without(name)).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    let other = Config {
        latent: 9,
        ..config()
    };
    let error = Trainer::new(teacher(), other)
        .unwrap()
        .restore(&complete)
        .unwrap_err();
    assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_with_its_name() {
    let mut broken = teacher();
    for node in &mut broken.nodes {
        if let Op::Linear(linear) = &mut node.op {
            linear.bias = Some(Tensor::new(&[f32::NAN; 10], &Device::Cpu).unwrap());
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let directory = RunDirectory::create(folder.path(), &config()).unwrap();
    let mut trainer = Trainer::new(broken, config()).unwrap();
    let before = parameters_of_generator(&trainer);
    let stop = AtomicBool::new(false);
    let error = trainer.run(&directory, &mut Unwatched, &stop).unwrap_err();
    let message = error.to_string();
    assert_eq!(
        message,
        "epoch 0, iteration 0: the marginal loss is NaN; there is no checkpoint yet"
    );
    assert_eq!(
        before,
        parameters_of_generator(&trainer),
        "no step was taken"
    );
}

fn parameters_of_generator(trainer: &Trainer) -> Vec<Vec<f32>> {
    let parameters = trainer.generator.parameters().into_iter();
    parameters.map(|(_, tensor)| flat(tensor)).collect()
}

#[test]
fn a_teacher_without_statistics_is_refused() {
    let mut bare = teacher();
    for node in &mut bare.nodes {
        if matches!(node.op, Op::BatchNorm(_)) {
            node.op = Op::Relu;
        }
    }
    let error = Trainer::new(bare, config()).unwrap_err();
    assert!(matches!(error, Error::NoStatistics(_)), "{error}");
}

#[test]
fn samples_are_pixels_of_the_normalised_images() {
    let trainer = Trainer::new(teacher(), config()).unwrap();
    let samples = trainer.sample_images(6).unwrap();
    assert_eq!(samples.len(), 6);
    let mut sums = [0.0; 3];
    for (label, pixels) in &samples[..4] {
        assert!(*label < 10);
        assert_eq!(pixels.len(), 32 * 32 * 3);
        for pixel in pixels.as_chunks::<3>().0 {
            for (sum, level) in sums.iter_mut().zip(pixel) {
                *sum += f64::from(*level) / 255.0;
            }
        }
    }
    // Generated images have mean 0 over the batch, which is the normalisation's mean in pixels.
    for (sum, mean) in sums.into_iter().zip([0.4, 0.5, 0.6]) {
        assert!((sum / (4.0 * 1024.0) - mean).abs() < 0.02, "{sums:?}");
    }
}
