use candle_core::Tensor;

use super::{
    iteration::{Batch, Phase},
    *,
};
use crate::dfq::golden::{Golden, assert_close, assert_norm, flat, norm_distance};
use crate::dfq::losses::Logits;
use crate::dfq::methods::NetworkGradient;

pub(super) const FROZEN: Phase = Phase {
    observe: false,
    learn: true,
};

pub(super) const WARM_UP: Phase = Phase {
    observe: true,
    learn: false,
};

/// Biases that a BatchNorm takes out again: their gradient is 0 but for rounding.
pub(super) const WITHOUT_GRADIENT: [&str; 2] = ["conv_blocks1.0.bias", "conv_blocks2.0.bias"];

/// The start of `train_step_w4a4`, whose networks `train_step_w4a4_observe` shares.
pub(super) fn golden_trainer(golden: &Golden, config: Config) -> Trainer {
    let teacher = golden.network("resnet8", "teacher.");
    let mut trainer = Trainer::new(teacher, config).unwrap();
    let generator = &mut trainer.generator;
    let names: Vec<String> = generator
        .parameters()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    for (name, parameter) in names.iter().zip(generator.parameters_mut()) {
        *parameter = golden.tensor(&format!("G.before.{name}"));
    }
    trainer
}

pub(super) fn freeze_ranges(trainer: &mut Trainer, golden: &Golden) {
    let ranges = golden.f32("x_min").into_iter().zip(golden.f32("x_max"));
    for (observer, (min, max)) in trainer.student.observers_mut().zip(ranges) {
        observer.set_state([min.into(), max.into(), 0.0]);
    }
}

/// One batch of the reference through all networks.
///
/// An activation on the boundary between two codes falls to either side by the last bit of the sum
/// before it, and one flipped code is felt in the logits of its sample and all that depends on
/// them. The reference's codes are not stored but its logits are: this takes the first of some
/// roundings of the same noise that gives them.
pub(super) fn forward_like_golden(
    trainer: &mut Trainer,
    golden: &Golden,
    step: usize,
    phase: Phase,
) -> Batch {
    const ROUNDINGS: u32 = 32;
    let noise = golden.tensor("z").get(step).unwrap();
    let labels = golden.labels("labels")[step * 16..][..16].to_vec();
    let expected = golden.f32(&format!("step{step}.zq1"));
    for rounding in 0..ROUNDINGS {
        let noise = (&noise * (1.0 + f64::from(rounding) * f64::from(f32::EPSILON))).unwrap();
        let mut attempt = trainer.clone();
        let batch = attempt.forward(&noise, labels.clone(), phase).unwrap();
        let pairs = flat(batch.student.output()).into_iter().zip(&expected);
        if pairs
            .into_iter()
            .all(|(got, expected)| (got - expected).abs() <= 1e-4)
        {
            *trainer = attempt;
            return batch;
        }
    }
    panic!("step{step}.zq1: none of {ROUNDINGS} roundings of the noise gives the stored logits");
}

pub(super) fn check_losses(golden: &Golden, step: &str, losses: &Losses) {
    for (part, got, atol) in [
        ("h_loss", losses.marginal, 1e-6),
        ("balance", losses.balance, 0.0),
        ("bns", losses.statistics, 0.0),
        ("loss_G", losses.generator, 0.0),
        ("loss_S", losses.student, 0.0),
    ] {
        let key = format!("{step}.{part}");
        assert_close(&key, &[got], &golden.f32(&key), atol, 1e-4);
    }
}

/// Names of the student's parameters in the reference, which numbers stages and units.
fn reference_name(name: &str) -> String {
    let mut name = name.replace("init_block", "0");
    for number in 1..=3 {
        name = name.replace(&format!("stage{number}"), &number.to_string());
        name = name.replace(&format!("unit{number}"), &(number - 1).to_string());
    }
    name
}

pub(super) fn student_parameters(trainer: &Trainer) -> Vec<(String, Tensor)> {
    let graph = trainer.student.trained();
    let parameters = graph.parameters().into_iter();
    parameters
        .map(|(id, tensor)| {
            let name = crate::dfq::parameter_key(graph, id);
            (reference_name(&name), tensor.clone())
        })
        .collect()
}

fn norm(values: &[f32]) -> f64 {
    norm_distance(values, &vec![0.0; values.len()])
}

#[test]
fn passes_and_losses_match_golden() {
    let Some(golden) = Golden::open("train_step_w4a4") else {
        return;
    };
    let mut trainer = golden_trainer(&golden, Config::default());
    freeze_ranges(&mut trainer, &golden);

    let batch = forward_like_golden(&mut trainer, &golden, 0, FROZEN);
    for (key, got, atol) in [
        ("step0.image", batch.generated.image(), 2e-5),
        ("step0.zp", batch.teacher.output(), 1e-4),
        ("step0.zq1", batch.student.output(), 1e-4),
        ("step0.zq2", batch.student.output(), 1e-4),
    ] {
        assert_close(key, &flat(got), &golden.f32(key), atol, 1e-5);
    }
    let norms = batch.teacher.batch_norm_inputs().unwrap();
    assert_eq!(norms.len(), 9);
    for (index, input) in norms.iter().enumerate() {
        for (part, got) in [("mean", &input.mean), ("var", &input.var)] {
            let key = format!("step0.bn{index}.{part}");
            assert_close(&key, got, &golden.f32(&key), 1e-5, 1e-4);
        }
    }
    let mut losses = trainer.train_generator(&batch).unwrap();
    losses.student = trainer.train_student(&batch, FROZEN).unwrap();
    check_losses(&golden, "step0", &losses);
}

#[test]
fn generator_step_matches_golden() {
    let Some(golden) = Golden::open("train_step_w4a4") else {
        return;
    };
    let mut trainer = golden_trainer(&golden, Config::default());
    freeze_ranges(&mut trainer, &golden);
    let batch = forward_like_golden(&mut trainer, &golden, 0, FROZEN);
    let (_, gradients) = trainer.generator_gradients(&batch).unwrap();
    for ((name, _), gradient) in trainer.generator.parameters().into_iter().zip(&gradients) {
        let expected = golden.f32(&format!("step0.G.grad.{name}"));
        let got = flat(gradient);
        let stored_rows = &got[..expected.len()];
        if WITHOUT_GRADIENT.contains(&name.as_str()) {
            assert_close(&name, stored_rows, &expected, 1e-5, 0.0);
        } else {
            assert_norm(&name, stored_rows, &expected, 2e-3);
            let key = format!("step0.G.grad_norm.{name}");
            assert_close(&key, &[norm(&got)], &golden.f32(&key), 0.0, 2e-3);
        }
    }

    trainer.train_generator(&batch).unwrap();
    let (mut close, mut all) = (0, 0);
    for (name, parameter) in trainer.generator.parameters() {
        if WITHOUT_GRADIENT.contains(&name.as_str()) {
            continue;
        }
        let expected = golden.f32(&format!("step0.G.after.{name}"));
        let got = flat(parameter);
        let pairs = got.iter().zip(&expected);
        close += pairs
            .filter(|(got, expected)| (*got - *expected).abs() <= 1e-5)
            .count();
        all += expected.len();
    }
    assert!(
        close * 100 >= all * 99,
        "{close} of {all} parameters are close"
    );
}

#[test]
fn adam_step_matches_golden_for_the_stored_gradients() {
    let Some(golden) = Golden::open("train_step_w4a4") else {
        return;
    };
    let trainer = golden_trainer(&golden, Config::default());
    for (name, parameter) in trainer.generator.parameters() {
        let gradient = golden.tensor(&format!("step0.G.grad.{name}"));
        let rows = gradient.dim(0).unwrap();
        let mut parameter = parameter.narrow(0, 0, rows).unwrap();
        let mut adam = Adam::new(1e-3, [parameter.elem_count()]);
        adam.step(&mut [&mut parameter], &[&gradient]).unwrap();
        let key = format!("step0.G.after.{name}");
        let expected = golden.f32(&key);
        let expected = &expected[..parameter.elem_count()];
        assert_close(&key, &flat(&parameter), expected, 1e-7, 0.0);
    }
}

#[test]
fn student_step_matches_golden() {
    let Some(golden) = Golden::open("train_step_w4a4") else {
        return;
    };
    let mut trainer = golden_trainer(&golden, Config::default());
    freeze_ranges(&mut trainer, &golden);
    let batch = forward_like_golden(&mut trainer, &golden, 0, FROZEN);

    let difference = Logits::of(&batch.teacher).unwrap();
    let difference = difference.minus(&Logits::of(&batch.student).unwrap());
    let loss = difference.negative_entropy(20.0);
    let to_student = loss.gradient.iter().map(|g| -g).collect();
    let gradients = trainer
        .student_gradients(&batch.student, &NetworkGradient::of_logits(to_student))
        .unwrap();
    let parameters = student_parameters(&trainer);
    assert_eq!(gradients.len(), parameters.len());
    for ((name, _), gradient) in parameters.iter().zip(&gradients) {
        let key = format!("step0.Q.grad.{name}");
        assert_norm(&key, &flat(gradient), &golden.f32(&key), 1e-3);
        let key = format!("step0.Q.grad_norm.{name}");
        assert_close(&key, &[norm(&flat(gradient))], &golden.f32(&key), 0.0, 1e-3);
    }

    trainer.train_student(&batch, FROZEN).unwrap();
    for (name, parameter) in student_parameters(&trainer) {
        let key = format!("step0.Q.after.{name}");
        assert_close(&key, &flat(&parameter), &golden.f32(&key), 1e-6, 0.0);
    }
}

#[test]
fn ranges_follow_golden_in_the_warm_up() {
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
    let mut trainer = golden_trainer(&start, config);
    let before = student_parameters(&trainer);
    for step in 0..4 {
        let rtol = if step == 0 { 1e-5 } else { 1e-3 };
        let check_ranges = |trainer: &Trainer, pass: &str| {
            let states = trainer.student.observers().map(|observer| observer.state());
            let states: Vec<[f64; 3]> = states.collect();
            for (index, part) in ["x_min", "x_max", "beta_t"].into_iter().enumerate() {
                let key = format!("step{step}.{pass}.{part}");
                let got: Vec<f64> = states.iter().map(|state| state[index]).collect();
                assert_close(&key, &got, &golden.f32(&key), 0.0, rtol);
            }
        };
        let batch = if step == 0 {
            forward_like_golden(&mut trainer, &golden, step, WARM_UP)
        } else {
            // Adam's first step follows the signs of gradients, rounding noise among them.
            let noise = golden.tensor("z").get(step).unwrap();
            let labels = golden.labels("labels")[step * 16..][..16].to_vec();
            trainer.forward(&noise, labels, WARM_UP).unwrap()
        };
        check_ranges(&trainer, "acts1");
        let mut losses = trainer.train_generator(&batch).unwrap();
        losses.student = trainer.train_student(&batch, WARM_UP).unwrap();
        check_ranges(&trainer, "acts2");
        if step == 0 {
            check_losses(&golden, "step0", &losses);
        }
    }
    for ((name, before), (_, after)) in before.iter().zip(student_parameters(&trainer)) {
        assert_eq!(flat(before), flat(&after), "{name} moved in the warm-up");
    }
}
