//! Methods that train nothing: images, ranges from them, and what may follow.

use std::sync::atomic::AtomicBool;

use super::{
    Config, Error, Result,
    images::{DatasetImages, ImageSet, Images, Repeated},
    random::Random,
    ranges::{self, RangeRule},
    samples::pixels,
    stages::{self, Material, Stage},
    student::Student,
    synthesis::{Step, Synthesis},
    teacher::Teacher,
    trainer::stream,
};
use crate::{
    data::Dataset,
    graph::{Graph, QuantizedGraph},
};

/// What a method without training consists of.
#[derive(Debug)]
pub struct Recipe {
    /// Where its images come from.
    pub images: Source,
    /// How ranges come from what the float network makes of them.
    pub ranges: RangeRule,
    /// What follows.
    pub stages: Vec<Box<dyn Stage>>,
}

/// Where the images of a method without training come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Source {
    /// Optimised from noise.
    Synthesis(Synthesis),
    /// The user's.
    Given,
}

/// What comes of a method without training.
#[derive(Debug)]
pub struct Quantized {
    /// The quantized network.
    pub network: QuantizedGraph,
    /// The first of the images with the classes they were made for: height x width x channels, a
    /// byte each.
    pub samples: Vec<(usize, Vec<u8>)>,
}

/// Quantizes `teacher` by the method of `config`. `given` are the user's images, for a method that
/// needs some; `progress` is told of every step of images optimised from noise.
///
/// # Errors
/// [`Error::NoImages`] if the method needs images and none are given, [`Error::Game`] if it trains,
/// [`Error::NoStatistics`] if it needs those of BatchNorm, [`Error::Stopped`] once `stop` is set.
pub fn quantize(
    teacher: &Graph,
    config: &Config,
    given: Option<&Dataset>,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Step),
) -> Result<Quantized> {
    config.check()?;
    let recipe = config.method.recipe(config);
    let recipe = recipe.ok_or(Error::Game(config.method))?;
    let synthesised;
    let of_user;
    let images: &dyn ImageSet = match recipe.images {
        Source::Synthesis(synthesis) => {
            synthesised = synthesise(teacher, &synthesis, config.seed, stop, progress)?;
            &synthesised
        }
        Source::Given => {
            of_user = DatasetImages {
                data: given.ok_or(Error::NoImages)?,
                normalization: &teacher.normalization,
                batch: config.synthesis.batch,
            };
            &of_user
        }
    };
    let widths = config.bits.of(teacher)?;
    let ranges = ranges::of_images(teacher, &widths.activations, images, recipe.ranges)?;
    let student = Student::new(teacher, widths, config.start_correction())?;
    let mut material = Material {
        teacher,
        images: &mut Repeated::new(images),
        stop,
    };
    let student = student.with_ranges(&ranges);
    let student = stages::apply_all(&recipe.stages, student, &mut material)?;
    let first = images.batch(0)?;
    Ok(Quantized {
        network: student.quantized_graph()?,
        samples: first
            .labels
            .into_iter()
            .zip(pixels(&first.images, teacher)?)
            .collect(),
    })
}

/// Images optimised from noise for `teacher`, always the same for a seed.
///
/// # Errors
/// [`Error::NoStatistics`] if they are optimised for BatchNorm statistics and there are none,
/// [`Error::Stopped`] once `stop` is set.
pub fn synthesise(
    teacher: &Graph,
    synthesis: &Synthesis,
    seed: u64,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Step),
) -> Result<Vec<Images>> {
    let mut random = Random::new(seed, stream::SYNTHESIS);
    let teacher = teacher_for(synthesis, teacher)?;
    synthesis.run(&teacher, &mut random, stop, progress)
}

fn teacher_for(synthesis: &Synthesis, teacher: &Graph) -> Result<Teacher> {
    if synthesis.statistics > 0.0 {
        Teacher::new(teacher.clone())
    } else {
        Teacher::with_any_statistics(teacher.clone())
    }
}

#[cfg(test)]
mod tests;
