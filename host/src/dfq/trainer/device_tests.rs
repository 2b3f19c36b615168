//! Whole iterations with the operators of devices, on the CPU.

use super::tests::{
    FROZEN, WARM_UP, WITHOUT_GRADIENT, check_losses, forward_like_golden, freeze_ranges,
    golden_trainer, student_parameters,
};
use super::*;
use crate::{
    dfq::{
        FakeQuantized,
        golden::{Golden, assert_close, assert_norm, flat},
        random::Random,
    },
    graph::{Normalization, Precision},
    zoo::{self, RandomParameters},
};
use candle_core::Device;

fn composed(precision: Precision) -> Placement {
    Placement::composed(Device::Cpu, precision)
}

#[test]
fn a_step_matches_golden() {
    let Some(golden) = Golden::open("train_step_w4a4") else {
        return;
    };
    let trainer = golden_trainer(&golden, Config::default());
    let mut trainer = trainer.placed(&composed(Precision::Single)).unwrap();
    freeze_ranges(&mut trainer, &golden);
    let batch = forward_like_golden(&mut trainer, &golden, 0, FROZEN);
    let (_, gradients) = trainer.generator_gradients(&batch).unwrap();
    for ((name, _), gradient) in trainer.generator.parameters().into_iter().zip(&gradients) {
        let expected = golden.f32(&format!("step0.G.grad.{name}"));
        let found = &flat(gradient)[..expected.len()];
        if WITHOUT_GRADIENT.contains(&name.as_str()) {
            assert_close(&name, found, &expected, 1e-5, 0.0);
        } else {
            assert_norm(&name, found, &expected, 2e-3);
        }
    }
    let mut losses = trainer.train_generator(&batch).unwrap();
    losses.student = trainer.train_student(&batch, FROZEN).unwrap();
    check_losses(&golden, "step0", &losses);
    for (name, parameter) in student_parameters(&trainer) {
        let key = format!("step0.Q.after.{name}");
        assert_close(&key, &flat(&parameter), &golden.f32(&key), 1e-6, 0.0);
    }
}

#[test]
fn ranges_follow_golden() {
    let (Some(start), Some(golden)) = (
        Golden::open("train_step_w4a4"),
        Golden::open("train_step_w4a4_observe"),
    ) else {
        return;
    };
    let config = Config {
        reference_ema: true,
        ..Config::default()
    };
    let trainer = golden_trainer(&start, config);
    let mut trainer = trainer.placed(&composed(Precision::Single)).unwrap();
    let check_ranges = |trainer: &Trainer, pass: &str| {
        let states: Vec<[f64; 3]> = trainer.student.observers().map(|o| o.state()).collect();
        for (index, part) in ["x_min", "x_max", "beta_t"].into_iter().enumerate() {
            let key = format!("step0.{pass}.{part}");
            let found: Vec<f64> = states.iter().map(|state| state[index]).collect();
            assert_close(&key, &found, &golden.f32(&key), 0.0, 1e-5);
        }
    };
    let batch = forward_like_golden(&mut trainer, &golden, 0, WARM_UP);
    check_ranges(&trainer, "acts1");
    let mut losses = trainer.train_generator(&batch).unwrap();
    losses.student = trainer.train_student(&batch, WARM_UP).unwrap();
    check_ranges(&trainer, "acts2");
    check_losses(&golden, "step0", &losses);
}

/// Epoch 0 observes only, epoch 1 observes and learns, epoch 2 learns with frozen ranges. The
/// generator's steps are short, as the first ones of Adam go by the signs of gradients, those that
/// are rounding noise among them; the widths are large, as a flipped code then weighs little.
fn small_run() -> Trainer {
    let normalization = Normalization {
        mean: vec![0.4, 0.5, 0.6],
        std: vec![0.2, 0.25, 0.3],
    };
    let network = zoo::network("resnet8").unwrap();
    let mut parameters = RandomParameters::new(5);
    let mut teacher = network.build(&mut parameters, 10, normalization).unwrap();
    teacher.input_shape = [3, 16, 16];
    let config = Config {
        bits: "w8a8".parse().unwrap(),
        epochs: 3,
        warmup_epochs: 1,
        observe_epochs: 2,
        iterations: 2,
        batch: 8,
        latent: 8,
        generator_learning_rate: 1e-5,
        seed: 11,
        ..Config::default()
    };
    Trainer::new(teacher, config).unwrap()
}

fn steps(trainer: &mut Trainer, count: usize) -> Vec<Losses> {
    let mut step = || {
        let losses = trainer.step().unwrap();
        if trainer.progress.iteration == trainer.config.iterations {
            trainer.progress.epoch += 1;
            trainer.progress.iteration = 0;
        }
        losses
    };
    (0..count).map(|_| step()).collect()
}

/// The marginal loss is left out: it scales the entropies by their spread, and that of an 8-bit
/// student's disagreement is what rounding of codes makes it.
fn assert_same_losses(found: &[Losses], expected: &[Losses], rtol: f64) {
    for (iteration, (found, expected)) in found.iter().zip(expected).enumerate() {
        let what = |term: &str| format!("{term} loss of iteration {iteration}");
        for (term, select) in [
            ("balance", (|losses| losses.balance) as fn(&Losses) -> f64),
            ("statistics", |losses| losses.statistics),
        ] {
            assert_close(
                &what(term),
                &[select(found)],
                &[select(expected)],
                0.0,
                rtol,
            );
        }
        // It lies next to the least that it can be, -400 ln 10: what counts is how far above.
        let (found, expected) = (found.student, expected.student);
        assert_close(&what("student"), &[found], &[expected], 5e-4, 0.0);
    }
}

#[test]
fn a_run_has_the_losses_of_the_tuned_operators_and_may_change_devices() {
    let mut tuned = small_run();
    let expected = steps(&mut tuned, 6);
    let mut trainer = small_run().placed(&composed(Precision::Single)).unwrap();
    let found = steps(&mut trainer, 6);
    assert_same_losses(&found, &expected, 3e-3);

    // From the device to the CPU after 3 iterations, and the other way round.
    for (from, to) in [
        (composed(Precision::Single), Placement::default()),
        (Placement::default(), composed(Precision::Single)),
    ] {
        let mut first = small_run().placed(&from).unwrap();
        let mut losses = steps(&mut first, 3);
        let archive = first.archive().unwrap();
        let tensors = archive.tensors.values();
        assert!(tensors.into_iter().all(|tensor| tensor.device().is_cpu()));
        let rest = small_run().placed(&to).unwrap();
        let mut rest = rest.restore(&archive).unwrap();
        assert_eq!(rest.placement().operators, to.operators);
        losses.extend(steps(&mut rest, 3));
        assert_same_losses(&losses, &expected, 3e-3);
    }

    // Interrupted or not on the same device: the same bits.
    let mut first = small_run().placed(&composed(Precision::Single)).unwrap();
    steps(&mut first, 3);
    let rest = small_run().placed(&composed(Precision::Single)).unwrap();
    let mut rest = rest.restore(&first.archive().unwrap()).unwrap();
    assert_eq!(steps(&mut rest, 3), found[3..]);
}

#[test]
fn networks_of_a_run_on_a_device_are_in_main_memory() {
    let mut trainer = small_run().placed(&composed(Precision::Single)).unwrap();
    steps(&mut trainer, 1);
    let quantized = trainer.quantized_graph().unwrap();
    assert_eq!(quantized.graph.placement.operators, Operators::Tuned);
    assert_eq!(trainer.sample_images(3).unwrap().len(), 3);
    let network = FakeQuantized::new(&quantized).unwrap();
    let images = Random::new(1, 0).normal((2, 3, 16, 16)).unwrap();
    let expected = flat(network.forward(&images).unwrap().output());
    let network = network.placed(&composed(Precision::Single)).unwrap();
    let found = flat(network.forward(&images).unwrap().output());
    assert_norm("logits", &found, &expected, 1e-3);
}

/// Generator and teacher in `bf16`: the losses are those of single precision within the 8 bits of
/// such a number.
#[test]
fn reduced_precision_trains_the_same_way() {
    let expected = steps(&mut small_run(), 2);
    let mut trainer = small_run().placed(&composed(Precision::BFloat16)).unwrap();
    let student = &trainer.student.trained().placement;
    assert_eq!(student.operators, Operators::Composed(Precision::Single));
    let found = steps(&mut trainer, 2);
    assert_same_losses(&found, &expected, 0.05);
}
