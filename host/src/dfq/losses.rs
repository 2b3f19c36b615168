//! Losses on the logits of teacher and student, with their exact gradients, in `f64`.
//!
//! With the teacher's logits `zp` and the student's `zq`, the disagreement is
//! `p_ds = softmax(zp - zq)` and the agreement `p_as = softmax(zp + zq)` (Qian, Wang, Hong, Wang:
//! Adaptive Data-Free Quantization, CVPR 2023). Every loss here is a function of either the
//! difference or the sum of the logits; [`Balance`] and the trainer put them together.

/// Rows of logits, one per sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    classes: usize,
    values: Vec<f64>,
}

/// A loss and its gradient with respect to the logits it was computed from, row after row.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// The loss.
    pub value: f64,
    /// As many numbers as there are logits.
    pub gradient: Vec<f64>,
}

/// A softmax with its logarithm and its entropy, for one sample.
struct Distribution {
    probability: Vec<f64>,
    logarithm: Vec<f64>,
    entropy: f64,
}

impl Logits {
    /// `values` has rows of `classes` numbers.
    #[must_use]
    pub fn new(classes: usize, values: &[f32]) -> Self {
        Self {
            classes,
            values: values.iter().copied().map(f64::from).collect(),
        }
    }

    /// Logits whose softmax is the disagreement of teacher `self` and student `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.combine(other, |p, q| p - q)
    }

    /// Logits whose softmax is the agreement of teacher `self` and student `other`.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.combine(other, |p, q| p + q)
    }

    fn combine(&self, other: &Self, operation: impl Fn(f64, f64) -> f64) -> Self {
        let pairs = self.values.iter().zip(&other.values);
        Self {
            classes: self.classes,
            values: pairs.map(|(&p, &q)| operation(p, q)).collect(),
        }
    }

    fn divided(&self, divisor: f64) -> Self {
        Self {
            classes: self.classes,
            values: self.values.iter().map(|value| value / divisor).collect(),
        }
    }

    fn rows(&self) -> std::slice::ChunksExact<'_, f64> {
        self.values.chunks_exact(self.classes)
    }

    fn samples(&self) -> f64 {
        (self.values.len() / self.classes) as f64
    }

    fn distributions(&self) -> Vec<Distribution> {
        self.rows().map(Distribution::softmax).collect()
    }

    /// Entropy of the softmax of every row, in nats.
    #[must_use]
    pub fn entropies(&self) -> Vec<f64> {
        self.rows()
            .map(|row| Distribution::softmax(row).entropy)
            .collect()
    }

    /// Entropies moved to 0 at the batch's least one and scaled to 1 at that of the uniform
    /// distribution: `(H - min H) / (ln classes - min H)`. NaN if all rows are uniform.
    #[must_use]
    pub fn normalized_entropies(&self) -> Vec<f64> {
        normalize(&self.entropies(), self.highest_entropy())
    }

    fn highest_entropy(&self) -> f64 {
        (self.classes as f64).ln()
    }

    /// What keeps the normalized entropy of the disagreement between `lower` and `upper`:
    /// the mean of `max(lower - H', 0) + max(H' - upper, 0)`. The least entropy of the batch is
    /// part of the gradient; samples that share it share its gradient evenly.
    #[must_use]
    pub fn marginal(&self, lower: f64, upper: f64) -> Loss {
        let distributions = self.distributions();
        let entropies: Vec<f64> = distributions.iter().map(|d| d.entropy).collect();
        let highest = self.highest_entropy();
        let least = least(&entropies);
        let width = highest - least;
        let normalized = normalize(&entropies, highest);

        let value = normalized
            .iter()
            .map(|h| relu(lower - h) + relu(h - upper))
            .sum::<f64>()
            / self.samples();
        let slopes: Vec<f64> = normalized
            .iter()
            .map(|h| (relu_slope(h - upper) - relu_slope(lower - h)) / self.samples())
            .collect();
        let to_least = slopes
            .iter()
            .zip(&entropies)
            .map(|(slope, entropy)| -slope * (highest - entropy) / (width * width))
            .sum::<f64>();
        let holders = entropies
            .iter()
            .filter(|&&entropy| entropy == least)
            .count() as f64;
        let weights = slopes.iter().zip(&entropies).map(|(slope, &entropy)| {
            let share = if entropy == least {
                to_least / holders
            } else {
                0.0
            };
            slope / width + share
        });
        Loss {
            value,
            gradient: entropy_gradient(&distributions, weights),
        }
    }

    /// Mean cross entropy with the class of every sample.
    #[must_use]
    pub fn cross_entropy(&self, labels: &[usize]) -> Loss {
        let distributions = self.distributions();
        let samples = self.samples();
        let pairs = || distributions.iter().zip(labels);
        let value = -pairs().map(|(d, &label)| d.logarithm[label]).sum::<f64>() / samples;
        let mut gradient = Vec::with_capacity(self.values.len());
        for (distribution, &label) in pairs() {
            let target = |class| if class == label { 1.0 } else { 0.0 };
            let row = distribution.probability.iter().enumerate();
            gradient.extend(row.map(|(class, p)| (p - target(class)) / samples));
        }
        Loss { value, gradient }
    }

    /// The student's loss on the difference of the logits: `-T^2` times the mean entropy of
    /// `softmax((zp - zq) / T)`. Least, `-T^2 ln classes`, where the logits agree up to a shift.
    #[must_use]
    pub fn negative_entropy(&self, temperature: f64) -> Loss {
        let cooled = self.divided(temperature);
        let distributions = cooled.distributions();
        let factor = -temperature * temperature / self.samples();
        let value = factor * distributions.iter().map(|d| d.entropy).sum::<f64>();
        let weights = distributions.iter().map(|_| factor / temperature);
        Loss {
            value,
            gradient: entropy_gradient(&distributions, weights),
        }
    }
}

impl Distribution {
    fn softmax(logits: &[f64]) -> Self {
        let greatest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|z| (z - greatest).exp()).sum();
        let logarithm: Vec<f64> = logits.iter().map(|z| z - greatest - sum.ln()).collect();
        let probability: Vec<f64> = logarithm.iter().map(|l| l.exp()).collect();
        let entropy = -probability
            .iter()
            .zip(&logarithm)
            .map(|(p, l)| p * l)
            .sum::<f64>();
        Self {
            probability,
            logarithm,
            entropy,
        }
    }
}

/// Gradient of the sum of all entropies, each times its weight, with respect to the logits.
fn entropy_gradient(
    distributions: &[Distribution],
    weights: impl Iterator<Item = f64>,
) -> Vec<f64> {
    let mut gradient = Vec::new();
    for (distribution, weight) in distributions.iter().zip(weights) {
        let pairs = distribution.probability.iter().zip(&distribution.logarithm);
        gradient.extend(pairs.map(|(p, l)| -weight * p * (l + distribution.entropy)));
    }
    gradient
}

fn normalize(entropies: &[f64], highest: f64) -> Vec<f64> {
    let least = least(entropies);
    let width = highest - least;
    entropies
        .iter()
        .map(|entropy| (entropy - least) / width)
        .collect()
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// `max(x, 0)` that keeps a NaN.
fn relu(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
}

/// Slope of `max(x, 0)`: one half at the kink.
fn relu_slope(x: f64) -> f64 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        0.0
    } else {
        0.5
    }
}

/// Weights and bounds of the generator's losses on logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Balance {
    /// Lower bound of the normalized entropy of the disagreement.
    pub lambda_l: f64,
    /// Upper bound of the same.
    pub lambda_u: f64,
    /// Weight of the cross entropy of the disagreement with the label.
    pub alpha_ds: f64,
    /// Weight of the cross entropy of the agreement with the label.
    pub alpha_as: f64,
    /// Weight of both cross entropies together.
    pub beta: f64,
}

/// The generator's losses on logits, and the gradient of `marginal + beta * balance`.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneratorLoss {
    /// Keeps the entropy of the disagreement between its bounds.
    pub marginal: f64,
    /// `alpha_ds` and `alpha_as` times the cross entropies.
    pub balance: f64,
    /// With respect to the teacher's logits.
    pub teacher_gradient: Vec<f64>,
    /// With respect to the student's logits.
    pub student_gradient: Vec<f64>,
}

impl Balance {
    /// The generator's losses for `labels`, one class per row of logits.
    #[must_use]
    pub fn loss(&self, teacher: &Logits, student: &Logits, labels: &[usize]) -> GeneratorLoss {
        let difference = teacher.minus(student);
        let marginal = difference.marginal(self.lambda_l, self.lambda_u);
        let disagreement = difference.cross_entropy(labels);
        let agreement = teacher.plus(student).cross_entropy(labels);
        let of_difference =
            |i: usize| marginal.gradient[i] + self.beta * self.alpha_ds * disagreement.gradient[i];
        let of_sum = |i: usize| self.beta * self.alpha_as * agreement.gradient[i];
        let all = 0..teacher.values.len();
        GeneratorLoss {
            marginal: marginal.value,
            balance: self.alpha_ds * disagreement.value + self.alpha_as * agreement.value,
            teacher_gradient: all.clone().map(|i| of_difference(i) + of_sum(i)).collect(),
            student_gradient: all.map(|i| of_sum(i) - of_difference(i)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
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
}
