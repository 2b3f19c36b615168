//! The game of generator and student: the generator makes images on which teacher and student
//! disagree within bounds, the student learns to agree.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use candle_core::{Device, Tensor};
use tracing::debug_span;

use super::{
    Config, Epoch, Error, Iteration, Losses, Result, Watcher,
    events::Metrics,
    files::RunDirectory,
    generator::{Generated, Generator, Sizes},
    losses::Logits,
    optimizer::{Adam, Nesterov, stepped_learning_rate},
    random::Random,
    student::Student,
    teacher::Teacher,
};
use crate::{
    graph::{Graph, QuantizedGraph},
    nn::executor::Forward,
};

/// Streams of random numbers that must not depend on each other.
pub(super) mod stream {
    pub(super) const START: u64 = 0;
    pub(super) const TRAINING: u64 = 1;
    pub(in crate::dfq) const SAMPLES: u64 = 2;
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All epochs are done.
    Finished,
    /// It was stopped between two iterations; the checkpoint says where.
    Interrupted,
}

/// The networks, their optimizers and how far training has come.
#[derive(Debug, Clone)]
pub struct Trainer {
    pub(super) config: Config,
    pub(super) teacher: Teacher,
    pub(super) student: Student,
    pub(super) generator: Generator,
    pub(super) adam: Adam,
    pub(super) nesterov: Nesterov,
    pub(super) random: Random,
    pub(super) progress: Progress,
}

/// How far training has come.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Progress {
    /// Epochs done.
    pub epoch: usize,
    /// Iterations done in the current epoch.
    pub iteration: usize,
    /// Sum of the losses of the current epoch.
    pub losses: Losses,
}

/// What one iteration does beside training the generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Phase {
    /// Activation ranges follow the batches.
    observe: bool,
    /// The student learns.
    learn: bool,
}

/// One batch through all three networks.
struct Batch {
    labels: Vec<usize>,
    generated: Generated,
    teacher: Forward,
    student: Forward,
}

impl Trainer {
    /// A run at its start: a random generator, and a student that is the teacher quantized.
    ///
    /// # Errors
    /// If a setting makes no sense, or the teacher has no BatchNorm or takes images that the
    /// generator cannot make.
    pub fn new(teacher: Graph, config: Config) -> Result<Self> {
        let sizes = Sizes {
            latent: config.latent,
            classes: teacher.classes,
            image: teacher.input_shape,
        };
        let generator = Generator::cifar(sizes, &mut Random::new(config.seed, stream::START))?;
        Self::with_generator(teacher, generator, config)
    }

    /// A run with another generator than that for CIFAR sizes.
    ///
    /// # Errors
    /// If a setting makes no sense or the teacher has no BatchNorm.
    pub fn with_generator(teacher: Graph, generator: Generator, config: Config) -> Result<Self> {
        config.check()?;
        let student = Student::new(&teacher, config.bits, config.start_correction())?;
        let sizes = generator
            .parameters()
            .into_iter()
            .map(|(_, tensor)| tensor.elem_count());
        Ok(Self {
            adam: Adam::new(config.generator_learning_rate, sizes),
            nesterov: Nesterov::new(
                config.student_learning_rate,
                config.momentum,
                config.weight_decay,
            ),
            random: Random::new(config.seed, stream::TRAINING),
            teacher: Teacher::new(teacher)?,
            student,
            generator,
            config,
            progress: Progress::default(),
        })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How far training has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// The student as it is now.
    ///
    /// # Errors
    /// [`Error::NothingObserved`] before the first iteration.
    pub fn quantized_graph(&self) -> Result<QuantizedGraph> {
        self.student.quantized_graph()
    }

    /// Trains to the end of the last epoch or until `stop` is set, which takes effect after the
    /// iteration under way. A checkpoint is written after every epoch and when stopped.
    ///
    /// # Errors
    /// [`Error::Iteration`] if a loss is no finite number; errors of files and of the watcher. What
    /// the last checkpoint holds is not lost.
    pub fn run(
        &mut self,
        directory: &RunDirectory,
        watcher: &mut dyn Watcher,
        stop: &AtomicBool,
    ) -> Result<Outcome> {
        while self.progress.epoch < self.config.epochs {
            let start = Instant::now();
            if self.run_epoch(directory, watcher, stop)? == Outcome::Interrupted {
                self.write_checkpoint(directory, watcher)?;
                return Ok(Outcome::Interrupted);
            }
            let report = self.finish_epoch(start, watcher)?;
            directory.append_metrics(&Metrics::Epoch(&report))?;
            watcher.epoch(&report);
            self.write_checkpoint(directory, watcher)?;
        }
        Ok(Outcome::Finished)
    }

    fn run_epoch(
        &mut self,
        directory: &RunDirectory,
        watcher: &mut dyn Watcher,
        stop: &AtomicBool,
    ) -> Result<Outcome> {
        while self.progress.iteration < self.config.iterations {
            if stop.load(Ordering::Relaxed) {
                return Ok(Outcome::Interrupted);
            }
            let Progress {
                epoch, iteration, ..
            } = self.progress;
            let losses = self.step().map_err(|source| Error::Iteration {
                epoch,
                iteration,
                source: Box::new(source),
            })?;
            let report = Iteration {
                epoch,
                iteration,
                losses,
            };
            directory.append_metrics(&Metrics::Iteration(&report))?;
            watcher.iteration(&report);
        }
        Ok(Outcome::Finished)
    }

    fn finish_epoch(&mut self, start: Instant, watcher: &mut dyn Watcher) -> Result<Epoch> {
        let Progress { epoch, losses, .. } = self.progress;
        let seconds = start.elapsed().as_secs_f64();
        let learned = epoch >= self.config.warmup_epochs;
        let report = Epoch {
            epoch,
            iterations: (epoch + 1) * self.config.iterations,
            losses: losses.scaled(1.0 / self.config.iterations as f64),
            student_learning_rate: if learned {
                self.nesterov.learning_rate
            } else {
                0.0
            },
            generator_learning_rate: self.adam.learning_rate,
            seconds,
            evaluation: watcher.evaluate(epoch, self)?,
        };
        self.progress = Progress {
            epoch: epoch + 1,
            ..Progress::default()
        };
        Ok(report)
    }

    fn write_checkpoint(&self, directory: &RunDirectory, watcher: &mut dyn Watcher) -> Result<()> {
        let path = directory.write_checkpoint(&self.archive()?)?;
        watcher.checkpoint(&path);
        Ok(())
    }

    /// One iteration on random noise and classes.
    ///
    /// # Errors
    /// [`Error::NotFinite`] names a loss that is no finite number.
    pub fn step(&mut self) -> Result<Losses> {
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
        let losses = self.step_on(&noise, labels, phase)?;
        self.progress.iteration += 1;
        self.progress.losses = self.progress.losses.plus(&losses);
        Ok(losses)
    }

    fn step_on(&mut self, noise: &Tensor, labels: Vec<usize>, phase: Phase) -> Result<Losses> {
        let batch = self.forward(noise, labels, phase)?;
        let mut losses = self.train_generator(&batch)?;
        losses.student = self.train_student(&batch, phase)?;
        Ok(losses)
    }

    fn forward(&mut self, noise: &Tensor, labels: Vec<usize>, phase: Phase) -> Result<Batch> {
        let generated =
            debug_span!("generator_forward").in_scope(|| self.generator.forward(noise, &labels))?;
        let teacher =
            debug_span!("teacher_forward").in_scope(|| self.teacher.forward(generated.image()))?;
        let student = debug_span!("student_forward")
            .in_scope(|| self.student.forward(generated.image(), phase.observe, true))?;
        Ok(Batch {
            labels,
            generated,
            teacher,
            student,
        })
    }

    fn train_generator(&mut self, batch: &Batch) -> Result<Losses> {
        let (losses, gradients) = self.generator_gradients(batch)?;
        let _span = debug_span!("adam").entered();
        let gradients: Vec<&Tensor> = gradients.iter().collect();
        self.adam
            .step(&mut self.generator.parameters_mut(), &gradients)?;
        Ok(losses)
    }

    /// The generator's losses and the gradients of its parameters.
    fn generator_gradients(&self, batch: &Batch) -> Result<(Losses, Vec<Tensor>)> {
        let teacher_logits = logits(&batch.teacher)?;
        let student_logits = logits(&batch.student)?;
        let loss = self
            .config
            .balance()
            .loss(&teacher_logits, &student_logits, &batch.labels);
        let (statistics, statistics_gradient) = self
            .teacher
            .statistics_loss(&batch.teacher, self.config.gamma);
        let losses = Losses {
            marginal: loss.marginal,
            balance: loss.balance,
            statistics,
            generator: loss.marginal
                + self.config.beta * loss.balance
                + self.config.gamma * statistics,
            student: 0.0,
        };
        check_finite(&losses)?;
        let through_teacher = debug_span!("teacher_backward").in_scope(|| {
            let grad = gradient_like(batch.teacher.output(), &loss.teacher_gradient)?;
            self.teacher
                .image_gradient(&batch.teacher, &grad, &statistics_gradient)
        })?;
        let through_student = debug_span!("student_backward_images").in_scope(|| {
            let grad = gradient_like(batch.student.output(), &loss.student_gradient)?;
            self.student.image_gradient(&batch.student, &grad)
        })?;
        let _span = debug_span!("generator_backward").entered();
        let image_gradient = (through_teacher + through_student)?;
        let gradients = self.generator.backward(&batch.generated, &image_gradient)?;
        Ok((losses, gradients))
    }

    /// The student's loss on the images and teacher's logits from before the generator's step.
    ///
    /// With frozen ranges and unchanged weights a second pass over the same images would repeat the
    /// first; while ranges are observed it moves them once more, as in the published code.
    fn train_student(&mut self, batch: &Batch, phase: Phase) -> Result<f64> {
        let again = if phase.observe {
            let _span = debug_span!("student_forward_again").entered();
            Some(
                self.student
                    .forward(batch.generated.image(), true, phase.learn)?,
            )
        } else {
            None
        };
        let student = again.as_ref().unwrap_or(&batch.student);
        let difference = logits(&batch.teacher)?.minus(&logits(student)?);
        let loss = difference.negative_entropy(self.config.temperature);
        check_finite(&Losses {
            student: loss.value,
            ..Losses::default()
        })?;
        if phase.learn {
            // The loss is a function of the teacher's logits minus the student's.
            let to_student: Vec<f64> = loss.gradient.iter().map(|g| -g).collect();
            let gradients = self.student_gradients(student, &to_student)?;
            let _span = debug_span!("nesterov").entered();
            let gradients: Vec<&Tensor> = gradients.iter().collect();
            let nesterov = &mut self.nesterov;
            self.student
                .update(|parameters| nesterov.step(parameters, &gradients))?;
        }
        Ok(loss.value)
    }

    fn student_gradients(&self, student: &Forward, gradient: &[f64]) -> Result<Vec<Tensor>> {
        let _span = debug_span!("student_backward_parameters").entered();
        let grad = gradient_like(student.output(), gradient)?;
        self.student.parameter_gradients(student, &grad)
    }
}

fn check_finite(losses: &Losses) -> Result<()> {
    match losses.first_not_finite() {
        Some((term, value)) => Err(Error::NotFinite { term, value }),
        None => Ok(()),
    }
}

fn logits(forward: &Forward) -> Result<Logits> {
    let output = forward.output();
    Ok(Logits::new(
        output.dim(1)?,
        &output.flatten_all()?.to_vec1::<f32>()?,
    ))
}

fn gradient_like(tensor: &Tensor, gradient: &[f64]) -> Result<Tensor> {
    let gradient = gradient.iter().map(|&g| g as f32).collect();
    Ok(Tensor::from_vec(gradient, tensor.shape(), &Device::Cpu)?)
}

#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod tests;
