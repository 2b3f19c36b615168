use super::*;
use crate::dfq::golden::{Golden, assert_close, assert_norm};

const CASES: [&str; 6] = ["c10", "c10_far", "c10_close", "c10_tight", "c100", "c1000"];

struct Case<'a> {
    golden: &'a Golden,
    name: &'a str,
    teacher: Logits,
    student: Logits,
    labels: Vec<usize>,
    balance: Balance,
}

impl<'a> Case<'a> {
    fn open(golden: &'a Golden, name: &'a str) -> Self {
        let key = |part: &str| format!("{name}.{part}");
        // The file has f32, the exact figures were computed with the decimal number in f64.
        let decimal = |stored: f32| (f64::from(stored) * 1e4).round() / 1e4;
        let scalar = |part: &str| decimal(golden.f32(&key(part))[0]);
        let classes = golden.tensor(&key("zp")).dims()[1];
        Self {
            golden,
            name,
            teacher: Logits::new(classes, &golden.f32(&key("zp"))),
            student: Logits::new(classes, &golden.f32(&key("zq"))),
            labels: golden.labels(&key("labels")),
            balance: Balance {
                lambda_l: scalar("lambda_l"),
                lambda_u: scalar("lambda_u"),
                alpha_ds: scalar("alpha_ds"),
                alpha_as: scalar("alpha_as"),
                beta: 1.0,
                margin: 1.0,
            },
        }
    }

    fn check(&self, loss: &str, value: f64, to_teacher: &[f64], to_student: &[f64]) {
        let key = format!("{}.{loss}", self.name);
        // The reference's own f32 values are up to 4e-5 away from these.
        let exact = self.golden.f64(&format!("{key}.f64"));
        assert_close(&key, &[value], &exact, 0.0, 1e-11);
        for (to, got) in [("grad_zp", to_teacher), ("grad_zq", to_student)] {
            let key = format!("{key}.{to}");
            assert_norm(&key, got, &self.golden.f32(&key), 1e-4);
            if self.name != "c1000" {
                let exact = self.golden.f64(&format!("{key}.f64"));
                assert_norm(&key, got, &exact, 1e-10);
            }
        }
    }

    fn check_difference(&self, name: &str, loss: &Loss) {
        let negated: Vec<f64> = loss.gradient.iter().map(|g| -g).collect();
        self.check(name, loss.value, &loss.gradient, &negated);
    }
}

#[test]
fn losses_match_golden() {
    let Some(golden) = Golden::open("losses") else {
        return;
    };
    for name in CASES {
        let case = Case::open(&golden, name);
        let difference = case.teacher.minus(&case.student);
        let sum = case.teacher.plus(&case.student);
        let Balance {
            lambda_l, lambda_u, ..
        } = case.balance;

        let key = format!("{name}.H");
        let entropies = difference.entropies();
        assert_close(&key, &entropies, &golden.f32(&key), 1e-5, 0.0);
        for (part, got) in [
            ("H", entropies),
            ("H_norm", difference.normalized_entropies()),
        ] {
            let key = format!("{name}.{part}.f64");
            assert_close(&key, &got, &golden.f64(&key), 1e-12, 0.0);
        }
        case.check_difference("marginal", &difference.marginal(lambda_l, lambda_u));
        case.check_difference("L_ds", &difference.cross_entropy(&case.labels));
        case.check_difference("kd_T20", &difference.negative_entropy(20.0));
        case.check_difference("kd_T5", &difference.negative_entropy(5.0));
        let flipped = difference.negative_entropy(1.0);
        let mean_entropy = Loss {
            value: -flipped.value,
            gradient: flipped.gradient.iter().map(|g| -g).collect(),
        };
        case.check_difference("mean_entropy", &mean_entropy);
        let agreement = sum.cross_entropy(&case.labels);
        case.check(
            "L_as",
            agreement.value,
            &agreement.gradient,
            &agreement.gradient,
        );
    }
}

#[test]
fn balance_matches_golden() {
    let Some(golden) = Golden::open("losses") else {
        return;
    };
    for name in CASES {
        let case = Case::open(&golden, name);
        let with_beta = |beta| {
            let balance = Balance {
                beta,
                ..case.balance
            };
            balance.loss(&case.teacher, &case.student, &case.labels)
        };
        let (one, two) = (with_beta(1.0), with_beta(2.0));
        let slope = |two: &[f64], one: &[f64]| -> Vec<f64> {
            two.iter().zip(one).map(|(two, one)| two - one).collect()
        };
        let to_teacher = slope(&two.teacher_gradient, &one.teacher_gradient);
        let to_student = slope(&two.student_gradient, &one.student_gradient);
        let key = format!("{name}.balance");
        assert_close(&key, &[one.balance], &golden.f32(&key), 0.0, 1e-5);
        for (to, got) in [("grad_zp", to_teacher), ("grad_zq", to_student)] {
            let key = format!("{key}.{to}");
            assert_norm(&key, &got, &golden.f32(&key), 1e-4);
        }
    }
}

#[test]
fn marginal_is_no_number_when_all_samples_agree() {
    let equal = Logits::new(4, &[0.0; 8]);
    assert!(equal.marginal(0.1, 0.8).value.is_nan());
}

/// Two samples share the least entropy, one of them moves: the gradient of the minimum is
/// split between them.
#[test]
fn ties_share_the_gradient_of_the_least_entropy() {
    let logits = Logits::new(3, &[2.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.1, 0.0, 0.3]);
    let loss = logits.marginal(0.1, 0.5);
    assert_eq!(loss.gradient[..3], loss.gradient[3..6]);
    assert!(loss.gradient[0] != 0.0);
}

#[test]
fn slope_at_the_kink_is_one_half() {
    assert_eq!(
        [relu_slope(-1.0), relu_slope(0.0), relu_slope(1.0)],
        [0.0, 0.5, 1.0]
    );
}

/// Logits of three samples and four classes.
fn some_logits(seed: u64) -> Logits {
    let values = crate::dfq::random::Random::new(seed, 0).normal(12).unwrap();
    Logits {
        classes: 4,
        values: values
            .to_vec1::<f32>()
            .unwrap()
            .iter()
            .map(|&z| 3.0 * f64::from(z))
            .collect(),
    }
}

/// Compares the gradient of `loss` at `logits` with central differences.
fn check_gradient(name: &str, logits: &Logits, loss: impl Fn(&Logits) -> Loss) {
    let value = |logits: &Logits| loss(logits).value;
    let expected = central_differences(logits, value);
    assert_close(name, &loss(logits).gradient, &expected, 1e-8, 1e-6);
}

/// The gradient of `value` at `logits`, nearly.
pub(in crate::dfq) fn central_differences(
    logits: &Logits,
    value: impl Fn(&Logits) -> f64,
) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let moved = |index, step| value(&logits.moved(index, step));
    let indices = 0..logits.values.len();
    indices
        .map(|index| (moved(index, STEP) - moved(index, -STEP)) / (2.0 * STEP))
        .collect()
}

#[test]
fn gradients_match_finite_differences() {
    let (teacher, labels) = (some_logits(1), [3, 0, 2]);
    for temperature in [1.0, 20.0] {
        check_gradient("divergence", &some_logits(2), |student| {
            student.divergence_from(&teacher, temperature)
        });
        check_gradient("negative entropy", &some_logits(3), |difference| {
            difference.negative_entropy(temperature)
        });
    }
    check_gradient("cross entropy", &some_logits(4), |logits| {
        logits.cross_entropy(&labels)
    });
    check_gradient("class logit", &some_logits(6), |logits| {
        logits.class_logit(&labels)
    });
    check_gradient("marginal", &some_logits(5), |difference| {
        difference.marginal(0.4, 0.6)
    });
}

#[test]
fn divergence_is_zero_between_equals_up_to_a_shift_and_positive_elsewhere() {
    let teacher = some_logits(6);
    let shifted = Logits {
        classes: 4,
        values: teacher.values.iter().map(|z| z + 5.0).collect(),
    };
    let none = shifted.divergence_from(&teacher, 20.0);
    assert_close("divergence", &[none.value], &[0.0], 1e-10, 0.0);
    assert!(some_logits(7).divergence_from(&teacher, 20.0).value > 0.01);
}
