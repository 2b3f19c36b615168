//! The student's loss as a sum of weighted terms.

use super::{
    Result,
    losses::Loss,
    methods::{NetworkGradient, Passes, StudentLoss},
};

/// A term of the student's loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Term {
    /// `-T^2` times the mean entropy of `softmax((zp - zq) / T)`, AdaDFQ's.
    Entropy {
        /// `T`.
        temperature: f64,
    },
    /// `T^2` times the mean divergence `KL(softmax(zp / T) || softmax(zq / T))`.
    Divergence {
        /// `T`.
        temperature: f64,
    },
    /// Mean cross entropy of the student with the class that every image was made for.
    CrossEntropy,
}

/// A sum of terms, each with its weight.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// Weights and terms.
    pub terms: Vec<(f64, Term)>,
}

impl Objective {
    /// AdaDFQ's loss.
    #[must_use]
    pub fn entropy(temperature: f64) -> Self {
        Self {
            terms: vec![(1.0, Term::Entropy { temperature })],
        }
    }

    /// The loss and its gradient.
    ///
    /// # Errors
    /// If the passes do not hold what a term needs.
    pub fn loss(&self, passes: &Passes<'_>) -> Result<StudentLoss> {
        let mut sum = StudentLoss {
            value: 0.0,
            student: NetworkGradient::of_logits(vec![0.0; passes.student_logits.len()]),
        };
        for &(weight, term) in &self.terms {
            let loss = term.loss(passes);
            sum.value += weight * loss.value;
            for (sum, gradient) in sum.student.logits.iter_mut().zip(loss.gradient) {
                *sum += weight * gradient;
            }
        }
        Ok(sum)
    }
}

impl Term {
    /// The term, with its gradient with respect to the student's logits.
    fn loss(self, passes: &Passes<'_>) -> Loss {
        let (teacher, student) = (&passes.teacher_logits, &passes.student_logits);
        match self {
            // A function of the teacher's logits minus the student's.
            Self::Entropy { temperature } => {
                let loss = teacher.minus(student).negative_entropy(temperature);
                Loss {
                    value: loss.value,
                    gradient: loss.gradient.iter().map(|gradient| -gradient).collect(),
                }
            }
            Self::Divergence { temperature } => student.divergence_from(teacher, temperature),
            Self::CrossEntropy => student.cross_entropy(passes.labels),
        }
    }
}
