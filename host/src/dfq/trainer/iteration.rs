//! One iteration: a batch through all networks, a step of the generator, a step of the student.

use candle_core::Tensor;
use tracing::debug_span;

use super::Trainer;
use crate::{
    dfq::{
        Error, Losses, Result,
        generator::Generated,
        losses::Logits,
        methods::{NetworkGradient, Passes},
        optimizer::stepped_learning_rate,
    },
    nn::executor::Forward,
};

/// What one iteration does beside training the generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Phase {
    /// Activation ranges follow the batches.
    pub(super) observe: bool,
    /// The student learns.
    pub(super) learn: bool,
}

/// One batch through all three networks.
pub(super) struct Batch {
    pub(super) labels: Vec<usize>,
    pub(super) generated: Generated,
    /// What teacher and student see.
    pub(super) images: Tensor,
    pub(super) teacher: Forward,
    pub(super) student: Forward,
}

impl Trainer {
    /// One iteration on random noise and classes.
    ///
    /// # Errors
    /// [`Error::NotFinite`] names a loss that is no finite number.
    pub fn step(&mut self) -> Result<Losses> {
        let losses = if self.progress.epoch < self.config.epochs {
            self.play()?
        } else {
            self.refine()?
        };
        self.progress.iteration += 1;
        self.progress.losses = self.progress.losses.plus(&losses);
        Ok(losses)
    }

    /// An iteration of the game.
    fn play(&mut self) -> Result<Losses> {
        let epoch = self.progress.epoch;
        let steps = &self.config.learning_rate_steps;
        let rate = |base| stepped_learning_rate(base, steps, epoch);
        self.adam.learning_rate = rate(self.config.generator_learning_rate);
        self.nesterov.learning_rate = rate(self.config.student_learning_rate);
        let phase = Phase {
            observe: epoch < self.config.observe_epochs,
            learn: epoch >= self.config.warmup_epochs,
        };
        let noise = self
            .random
            .normal((self.config.batch, self.config.latent))?;
        let labels = self
            .random
            .labels(self.config.batch, self.teacher.graph().classes);
        self.step_on(&noise, labels, phase)
    }

    fn step_on(&mut self, noise: &Tensor, labels: Vec<usize>, phase: Phase) -> Result<Losses> {
        let batch = self.forward(noise, labels, phase)?;
        let mut losses = self.train_generator(&batch)?;
        let disagreement = Logits::of(&batch.teacher)?.minus(&Logits::of(&batch.student)?);
        let entropies = disagreement.normalized_entropies();
        self.progress.entropies.add(&entropies);
        losses.student = self.train_student(&batch, phase)?;
        self.offer_to_pool(&batch.images)?;
        Ok(losses)
    }

    pub(super) fn forward(
        &mut self,
        noise: &Tensor,
        labels: Vec<usize>,
        phase: Phase,
    ) -> Result<Batch> {
        let generated =
            debug_span!("generator_forward").in_scope(|| self.generator.forward(noise, &labels))?;
        let images = match &self.filter {
            Some(filter) => filter.forward(generated.image())?,
            None => generated.image().clone(),
        };
        let teacher = debug_span!("teacher_forward").in_scope(|| self.teacher.forward(&images))?;
        let student = debug_span!("student_forward")
            .in_scope(|| self.student.forward(&images, phase.observe, true))?;
        Ok(Batch {
            labels,
            generated,
            images,
            teacher,
            student,
        })
    }

    pub(super) fn train_generator(&mut self, batch: &Batch) -> Result<Losses> {
        let (losses, gradients) = self.generator_gradients(batch)?;
        let _span = debug_span!("adam").entered();
        let gradients: Vec<&Tensor> = gradients.iter().collect();
        self.adam
            .step(&mut self.generator.parameters_mut(), &gradients)?;
        Ok(losses)
    }

    /// The generator's losses and the gradients of its parameters.
    pub(super) fn generator_gradients(&self, batch: &Batch) -> Result<(Losses, Vec<Tensor>)> {
        // First, as a device has then done everything when the logits are waited for.
        let (statistics, statistics_gradient) = self
            .teacher
            .statistics_loss(&batch.teacher, self.config.gamma)?;
        let passes = Passes::new(&batch.labels, &batch.teacher, &batch.student)?;
        let loss = self.game.generator_loss(&passes)?;
        let losses = Losses {
            marginal: loss.marginal,
            balance: loss.balance,
            statistics,
            generator: loss.value + self.config.gamma * statistics,
            student: 0.0,
        };
        check_finite(&losses)?;
        let through_teacher = debug_span!("teacher_backward").in_scope(|| {
            self.teacher
                .image_gradient(&batch.teacher, &loss.teacher, statistics_gradient)
        })?;
        let mut gradient = match &loss.student {
            Some(of_student) => {
                let _span = debug_span!("student_backward_images").entered();
                (through_teacher + self.student.image_gradient(&batch.student, of_student)?)?
            }
            None => through_teacher,
        };
        let _span = debug_span!("generator_backward").entered();
        if let Some(filter) = &self.filter {
            gradient = filter.backward(batch.generated.image(), &gradient)?;
        }
        let gradients = self.generator.backward(&batch.generated, &gradient)?;
        Ok((losses, gradients))
    }

    /// The student's loss on the images and teacher's logits from before the generator's step.
    ///
    /// With frozen ranges and unchanged weights a second pass over the same images would repeat the
    /// first; while ranges are observed it moves them once more, as in the published code.
    pub(super) fn train_student(&mut self, batch: &Batch, phase: Phase) -> Result<f64> {
        let again = if phase.observe {
            let _span = debug_span!("student_forward_again").entered();
            Some(self.student.forward(&batch.images, true, true)?)
        } else {
            None
        };
        let student = again.as_ref().unwrap_or(&batch.student);
        let passes = Passes::new(&batch.labels, &batch.teacher, student)?;
        let loss = self.game.student_loss(&passes)?;
        check_finite(&Losses {
            student: loss.value,
            ..Losses::default()
        })?;
        if phase.learn {
            let gradients = self.student_gradients(student, &loss.student)?;
            let _span = debug_span!("nesterov").entered();
            let gradients: Vec<&Tensor> = gradients.iter().collect();
            let nesterov = &mut self.nesterov;
            self.student
                .update(|parameters| nesterov.step(parameters, &gradients))?;
        }
        Ok(loss.value)
    }

    pub(super) fn student_gradients(
        &self,
        student: &Forward,
        gradient: &NetworkGradient,
    ) -> Result<Vec<Tensor>> {
        let _span = debug_span!("student_backward_parameters").entered();
        self.student.parameter_gradients(student, gradient)
    }
}

fn check_finite(losses: &Losses) -> Result<()> {
    match losses.first_not_finite() {
        Some((term, value)) => Err(Error::NotFinite {
            term: term.to_owned(),
            value,
        }),
        None => Ok(()),
    }
}
