//! The game of generator and student: the generator makes images on which teacher and student
//! disagree within bounds, the student learns to agree.

mod iteration;
mod refining;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use super::{
    Config, Epoch, Error, Iteration, Losses, Result, Watcher,
    entropies::EntropyHistogram,
    events::Metrics,
    files::RunDirectory,
    generator::{Generator, Sizes},
    images::{GeneratedImages, ImageFilter},
    input_scale::InputScale,
    methods::Game,
    optimizer::{Adam, Nesterov},
    random::Random,
    refinement::{ImagePool, Refinement},
    stages::{self, Material, Stage},
    student::Student,
    teacher::Teacher,
};
use crate::graph::{Graph, Operators, Placement, QuantizedGraph};

/// Streams of random numbers that must not depend on each other.
pub(super) mod stream {
    pub(super) const START: u64 = 0;
    pub(super) const TRAINING: u64 = 1;
    pub(in crate::dfq) const SAMPLES: u64 = 2;
    pub(super) const STAGES: u64 = 3;
    pub(in crate::dfq) const SYNTHESIS: u64 = 4;
    pub(super) const REFINEMENT: u64 = 5;
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
    game: Arc<dyn Game>,
    filter: Option<Arc<dyn ImageFilter>>,
    pub(super) teacher: Teacher,
    pub(super) student: Student,
    pub(super) generator: Generator,
    pub(super) adam: Adam,
    pub(super) nesterov: Nesterov,
    pub(super) random: Random,
    pub(super) progress: Progress,
    /// Images for the refinement, until it starts.
    pub(super) pool: ImagePool,
    /// From the end of the game on, if there is one.
    pub(super) refinement: Option<Refinement>,
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
    /// Of the samples of the current epoch.
    pub entropies: EntropyHistogram,
    /// Time that the current epoch took before an interruption.
    pub seconds: f64,
}

impl Trainer {
    /// A run at its start: a random generator, and a student that is the teacher quantized.
    ///
    /// # Errors
    /// If a setting makes no sense, or the teacher has no BatchNorm or takes images without pixels.
    pub fn new(teacher: Graph, config: Config) -> Result<Self> {
        let sizes = Sizes {
            latent: config.latent,
            classes: teacher.classes,
            image: teacher.input_shape,
        };
        let generator = Generator::fitting(sizes, &mut Random::new(config.seed, stream::START))?
            .scaled(InputScale::of(&teacher)?);
        Self::with_generator(teacher, generator, config)
    }

    /// A run with a generator of another kind.
    ///
    /// # Errors
    /// If a setting makes no sense or the teacher has no BatchNorm.
    pub fn with_generator(teacher: Graph, generator: Generator, config: Config) -> Result<Self> {
        config.check()?;
        let student = Student::new(
            &teacher,
            config.bits.of(&teacher)?,
            config.start_correction(),
        )?;
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
            game: config
                .method
                .game(&config)
                .ok_or(Error::NoGame(config.method))?,
            filter: None,
            config,
            progress: Progress::default(),
            pool: ImagePool::default(),
            refinement: None,
        })
    }

    /// The same run with images that pass through `filter` before teacher and student see them.
    #[must_use]
    pub fn with_image_filter(mut self, filter: Arc<dyn ImageFilter>) -> Self {
        self.filter = Some(filter);
        self
    }

    /// The same run elsewhere. Noise and classes are still drawn on the CPU, so that runs agree.
    ///
    /// # Errors
    /// If the device has no room for it.
    pub fn placed(self, placement: &Placement) -> Result<Self> {
        Ok(Self {
            teacher: self.teacher.placed(placement)?,
            student: self.student.placed(placement)?,
            generator: self.generator.placed(placement)?,
            adam: self.adam.placed(placement)?,
            nesterov: self.nesterov.placed(placement)?,
            ..self
        })
    }

    /// A copy of the run in main memory, for what has no use for a device.
    ///
    /// # Errors
    /// If it cannot be copied.
    pub(super) fn on_host(&self) -> Result<Self> {
        self.clone().placed(&Placement::default())
    }

    /// Where the run is computed.
    #[must_use]
    pub fn placement(&self) -> &Placement {
        &self.teacher.graph().placement
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The float network.
    #[must_use]
    pub fn teacher(&self) -> &Graph {
        self.teacher.graph()
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
        match &self.refinement {
            Some(refinement) => refinement.quantized_graph(),
            None => {
                let student = self.student.clone().placed(&Placement::default())?;
                student.quantized_graph()
            }
        }
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
        while self.progress.epoch < self.config.all_epochs() {
            let start = Instant::now();
            if self.run_epoch(directory, watcher, stop)? == Outcome::Interrupted {
                self.progress.seconds += start.elapsed().as_secs_f64();
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
            let losses = self
                .step()
                .map_err(|source| directory.name_checkpoint(source, epoch, iteration))?;
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
        let Progress {
            epoch,
            losses,
            entropies,
            seconds,
            ..
        } = self.progress;
        let seconds = seconds + start.elapsed().as_secs_f64();
        let report = Epoch {
            epoch,
            iterations: (epoch + 1) * self.config.iterations,
            losses: losses.scaled(1.0 / self.config.iterations as f64),
            student_learning_rate: self.student_learning_rate(),
            generator_learning_rate: self.generator_learning_rate(),
            seconds,
            entropies,
            evaluation: watcher.evaluate(epoch, self)?,
        };
        self.progress = Progress {
            epoch: epoch + 1,
            ..Progress::default()
        };
        Ok(report)
    }

    fn write_checkpoint(&self, directory: &RunDirectory, watcher: &mut dyn Watcher) -> Result<()> {
        let archive = self.archive()?;
        let Progress {
            epoch, iteration, ..
        } = self.progress;
        archive
            .check_finite()
            .map_err(|source| directory.name_checkpoint(source, epoch, iteration))?;
        let path = directory.write_checkpoint(&archive, &self.progress)?;
        tracing::info!("checkpoint `{}`", path.display());
        watcher.checkpoint(&path);
        Ok(())
    }

    /// The student after `stages`, usually [`Config::stages`], which run on the CPU. The trainer
    /// itself stays as it is, so that an interrupted stage is repeated from its start.
    ///
    /// # Errors
    /// Those of the stages.
    pub fn finish(&self, stages: &[Box<dyn Stage>], stop: &AtomicBool) -> Result<QuantizedGraph> {
        let trainer = self.on_host()?;
        if self.placement().operators != Operators::Tuned && !stages.is_empty() {
            tracing::info!("what follows training is done on the CPU");
        }
        let random = Random::new(self.config.seed, stream::STAGES);
        let filter = self.filter.as_deref();
        let batch = self.config.batch;
        let mut images = GeneratedImages::new(&trainer.generator, filter, random, batch);
        let mut material = Material {
            teacher: trainer.teacher.graph(),
            images: &mut images,
            stop,
        };
        if let Some(refinement) = &self.refinement {
            return refinement.quantized_graph();
        }
        stages::apply_all(stages, trainer.student.clone(), &mut material)?.quantized_graph()
    }
}

#[cfg(test)]
mod device_tests;
#[cfg(test)]
mod method_tests;
#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod tests;
