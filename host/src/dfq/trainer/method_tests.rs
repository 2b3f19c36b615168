//! The losses of every method on one batch through real networks.

use super::{
    iteration::{Batch, Phase},
    run_tests::{config, teacher},
    *,
};
use crate::dfq::{
    Method,
    golden::assert_close,
    losses::{Logits, tests::central_differences},
    methods::{Part, Passes},
};

pub(super) fn some_batch(trainer: &mut Trainer) -> Batch {
    let phase = Phase {
        observe: true,
        learn: true,
    };
    let noise = Random::new(3, 0).normal((4, 8)).unwrap();
    trainer.forward(&noise, vec![1, 9, 1, 0], phase).unwrap()
}

/// The published losses, put together once more from [`losses`](crate::dfq::losses).
#[test]
fn adadfq_descends_exactly_the_published_losses() {
    let mut trainer = Trainer::new(teacher(), config()).unwrap();
    for _ in 0..2 {
        trainer.step().unwrap();
    }
    let batch = some_batch(&mut trainer);
    let passes = Passes::new(&batch.labels, &batch.teacher, &batch.student).unwrap();
    let (teacher, student) = (&passes.teacher_logits, &passes.student_logits);

    let got = trainer.game.generator_loss(&passes).unwrap();
    let expected = config().balance().loss(teacher, student, &batch.labels);
    let value = expected.marginal + config().beta * expected.balance;
    assert_eq!(
        [got.value, got.marginal, got.balance],
        [value, expected.marginal, expected.balance]
    );
    assert_eq!(got.teacher.logits, expected.teacher_gradient);
    let of_student = got.student.unwrap();
    assert_eq!(of_student.logits, expected.student_gradient);
    assert!(got.teacher.nodes.is_empty() && of_student.nodes.is_empty());

    let got = trainer.game.student_loss(&passes).unwrap();
    let expected = teacher
        .minus(student)
        .negative_entropy(config().temperature);
    assert_eq!(got.value, expected.value);
    let to_student: Vec<f64> = expected.gradient.iter().map(|g| -g).collect();
    assert_eq!(got.student.logits, to_student);
    assert!(got.student.nodes.is_empty());
}

fn games() -> Vec<(String, Config)> {
    let with = |method: Method, without: &[Part]| {
        let config = Config {
            without: without.to_vec(),
            ..method.settings(config())
        };
        (format!("{method} without {without:?}"), config)
    };
    let ablations = Part::ALL.map(|part| with(Method::Adadfq, &[part]));
    let games = Method::ALL.into_iter().filter(|method| method.trains());
    let whole = games.map(|method| with(method, &[]));
    whole.chain(ablations).collect()
}

/// The same passes with other logits; the values of the nodes stay.
fn with_logits<'a>(passes: &Passes<'a>, teacher: &Logits, student: &Logits) -> Passes<'a> {
    Passes {
        labels: passes.labels,
        teacher: passes.teacher,
        student: passes.student,
        teacher_logits: teacher.clone(),
        student_logits: student.clone(),
    }
}

#[test]
fn gradients_of_every_method_match_finite_differences() {
    for (name, config) in games() {
        let mut trainer = Trainer::new(teacher(), config).unwrap();
        let batch = some_batch(&mut trainer);
        let passes = Passes::new(&batch.labels, &batch.teacher, &batch.student).unwrap();
        let (teacher, student) = (&passes.teacher_logits, &passes.student_logits);
        let generator_loss = |teacher: &Logits, student: &Logits| {
            let passes = with_logits(&passes, teacher, student);
            trainer.game.generator_loss(&passes).unwrap()
        };
        let loss = generator_loss(teacher, student);
        let expected =
            central_differences(teacher, |teacher| generator_loss(teacher, student).value);
        assert_close(&name, &loss.teacher.logits, &expected, 1e-8, 1e-6);
        let expected =
            central_differences(student, |student| generator_loss(teacher, student).value);
        let got = loss
            .student
            .map_or(vec![0.0; expected.len()], |gradient| gradient.logits);
        assert_close(&name, &got, &expected, 1e-8, 1e-6);

        let student_loss = |student: &Logits| {
            let passes = with_logits(&passes, teacher, student);
            trainer.game.student_loss(&passes).unwrap()
        };
        let expected = central_differences(student, |student| student_loss(student).value);
        let got = student_loss(student).student.logits;
        assert_close(&name, &got, &expected, 1e-7, 1e-6);
    }
}

#[test]
fn a_part_left_out_is_reported_and_not_descended() {
    let mut trainer = Trainer::new(teacher(), config()).unwrap();
    let batch = some_batch(&mut trainer);
    let passes = Passes::new(&batch.labels, &batch.teacher, &batch.student).unwrap();
    let loss = |without: &[Part]| {
        let config = Config {
            without: without.to_vec(),
            ..config()
        };
        let game = config.method.game(&config).unwrap();
        game.generator_loss(&passes).unwrap()
    };
    let (whole, bare) = (loss(&[]), loss(&[Part::Margin]));
    assert!(whole.marginal > 0.0);
    assert_eq!(bare.marginal, whole.marginal);
    assert_eq!(bare.value, whole.balance);
    assert_eq!(loss(&[Part::LDs, Part::LAs]).value, whole.marginal);
}

#[test]
fn gdfq_trains_both_networks_and_reports_its_cross_entropy() {
    let config = Config {
        warmup_epochs: 0,
        student_learning_rate: 1e-2,
        iterations: 30,
        ..Method::Gdfq.settings(config())
    };
    let mut trainer = Trainer::new(teacher(), config).unwrap();
    let first = trainer.step().unwrap();
    let losses: Vec<Losses> = (0..25).map(|_| trainer.step().unwrap()).collect();
    let last = losses.last().unwrap();
    assert_eq!(last.marginal, 0.0);
    assert_close(
        "L_G",
        &[last.generator],
        &[last.balance + 0.1 * last.statistics],
        0.0,
        1e-12,
    );
    assert!(last.generator < first.generator, "{first:?} {last:?}");
    assert!(last.student < first.student, "{first:?} {last:?}");
}
