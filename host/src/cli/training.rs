//! Trains a quantized network, shows how far it is, and fills the run directory.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::time::Instant;

use candle_core::{Device, Tensor};
use indicatif::ProgressBar;
use lowbit_host::data::Dataset;
use lowbit_host::dfq::files::Archive;
use lowbit_host::dfq::{
    Config, Epoch, Evaluation, FakeQuantized, Iteration, Outcome, RunDirectory, Trainer, Watcher,
};
use lowbit_host::graph::{Graph, QuantizedGraph};
use lowbit_host::report::{Curve, Panel, write_curves};
use serde::Serialize;

use super::Context;
use super::failure::Failure;
use super::model::{self, samples_path, teacher_path};
use super::output::{Output, table};

/// Generated images that a run keeps.
const SAMPLES: usize = 64;
/// Images that the student is measured on after an epoch; all of them after the warm-up and at the
/// end.
const EVALUATED_PER_EPOCH: usize = 1000;

/// What to train.
pub(crate) struct Plan<'a> {
    pub(crate) teacher: &'a Graph,
    pub(crate) config: &'a Config,
    /// Images to measure on.
    pub(crate) evaluation: Option<&'a Dataset>,
}

/// What came of it.
pub(crate) struct Trained {
    pub(crate) report: Report,
    /// The last state, `None` before the first iteration.
    pub(crate) student: Option<QuantizedGraph>,
    /// Generated images with their classes.
    pub(crate) samples: Vec<(usize, Vec<u8>)>,
    pub(crate) interrupted: bool,
}

/// The result in figures.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub(crate) run: String,
    pub(crate) network: String,
    pub(crate) bits: String,
    pub(crate) epochs: usize,
    pub(crate) iterations: usize,
    pub(crate) float_top1: Option<f64>,
    /// After the warm-up: ranges from generated images, weights as they were.
    pub(crate) naive_top1: Option<f64>,
    pub(crate) quantized_top1: Option<f64>,
    pub(crate) evaluated_images: usize,
    pub(crate) seconds: f64,
    pub(crate) milliseconds_per_iteration: f64,
    pub(crate) interrupted: bool,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |top1: Option<f64>| top1.map(|top1| format!("{top1:.2} %"));
        let mut rows = vec![
            ("run", self.run.clone()),
            ("network", format!("{} at {}", self.network, self.bits)),
            (
                "time",
                format!(
                    "{:.0} s, {:.0} ms per iteration",
                    self.seconds, self.milliseconds_per_iteration
                ),
            ),
        ];
        let accuracies = [
            ("float", self.float_top1),
            ("naive", self.naive_top1),
            ("AdaDFQ", self.quantized_top1),
        ];
        rows.extend(
            accuracies
                .into_iter()
                .filter_map(|(name, top1)| Some((name, percent(top1)?))),
        );
        f.write_str(&table(&rows))
    }
}

/// Trains the student of `plan` in the new run directory `out`.
pub(crate) fn quantize(context: &Context, plan: &Plan<'_>, out: &Path) -> Result<Trained, Failure> {
    refuse_other_run(out)?;
    let output = context.output;
    let float_top1 = plan
        .evaluation
        .map(|data| model::float_top1(output, plan.teacher, data))
        .transpose()?;
    if let Some(top1) = float_top1 {
        output.say(format!(
            "Float network: {top1:.2} % of {} images",
            evaluated(plan)
        ));
    }
    let directory = RunDirectory::create(out, plan.config)?;
    plan.teacher.save(&teacher_path(out))?;
    let start = Instant::now();
    let mut trainer = Trainer::new(plan.teacher.clone(), plan.config.clone())?;
    let mut progress = Progress::new(output, plan);
    let outcome = trainer.run(&directory, &mut progress, &context.stop)?;
    progress.bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    let interrupted = outcome == Outcome::Interrupted;
    let samples = trainer.sample_images(SAMPLES)?;
    let student = trainer.quantized_graph().ok();
    if let (Some(student), false) = (&student, interrupted) {
        write_samples(&samples_path(out), &samples, plan.teacher)?;
        write_curves(&out.join("curves.svg"), &progress.panels())?;
        student.save(&directory.student_path())?;
    }
    let report = Report {
        run: out.display().to_string(),
        network: plan.teacher.name.clone(),
        bits: plan.config.bits.to_string(),
        epochs: plan.config.epochs,
        iterations: progress.iterations,
        float_top1,
        naive_top1: progress.naive,
        quantized_top1: if interrupted { None } else { progress.last },
        evaluated_images: evaluated(plan),
        seconds,
        milliseconds_per_iteration: 1e3 * progress.training_seconds
            / progress.iterations.max(1) as f64,
        interrupted,
    };
    Ok(Trained {
        report,
        student,
        samples,
        interrupted,
    })
}

fn evaluated(plan: &Plan<'_>) -> usize {
    plan.evaluation.map_or(0, Dataset::len)
}

/// A finished run is worth hours; it is not overwritten.
fn refuse_other_run(out: &Path) -> Result<(), Failure> {
    let student = out.join("student.safetensors");
    if !student.exists() {
        return Ok(());
    }
    let message = format!("`{}` holds a finished run", out.display());
    Err(Failure::new(message).hint("choose another --out, or delete that directory"))
}

fn write_samples(
    path: &Path,
    samples: &[(usize, Vec<u8>)],
    teacher: &Graph,
) -> Result<(), Failure> {
    let [channels, height, width] = teacher.input_shape;
    let pixels = samples
        .iter()
        .flat_map(|(_, pixels)| pixels.iter().copied())
        .collect::<Vec<_>>();
    let labels = samples
        .iter()
        .map(|(label, _)| *label as i64)
        .collect::<Vec<_>>();
    let count = samples.len();
    let pixels = Tensor::from_vec(pixels, (count, height, width, channels), &Device::Cpu)?;
    let labels = Tensor::from_vec(labels, count, &Device::Cpu)?;
    let tensors = HashMap::from([("pixels".to_owned(), pixels), ("labels".to_owned(), labels)]);
    Ok(Archive {
        tensors,
        notes: HashMap::new(),
    }
    .write(path)?)
}

/// Shows progress, measures accuracy between epochs, collects the curves.
struct Progress<'a> {
    output: Output,
    bar: ProgressBar,
    config: &'a Config,
    evaluation: Option<&'a Dataset>,
    subset: Option<Dataset>,
    iterations: usize,
    training_seconds: f64,
    naive: Option<f64>,
    last: Option<f64>,
    generator_losses: Vec<(f64, f64)>,
    student_losses: Vec<(f64, f64)>,
    accuracies: Vec<(f64, f64)>,
}

impl<'a> Progress<'a> {
    fn new(output: Output, plan: &Plan<'a>) -> Self {
        let total = plan.config.epochs * plan.config.iterations;
        let data = plan.evaluation;
        Self {
            output,
            bar: output.bar(total as u64, "training"),
            config: plan.config,
            evaluation: data,
            subset: data.map(|data| data.clone().take(EVALUATED_PER_EPOCH)),
            iterations: 0,
            training_seconds: 0.0,
            naive: None,
            last: None,
            generator_losses: Vec::new(),
            student_losses: Vec::new(),
            accuracies: Vec::new(),
        }
    }

    fn panels(&self) -> Vec<Panel> {
        let panel = |title: &str, x_label: &str, label: &str, points: &[(f64, f64)]| Panel {
            title: title.to_owned(),
            x_label: x_label.to_owned(),
            curves: vec![Curve {
                label: label.to_owned(),
                points: points.to_vec(),
            }],
        };
        vec![
            panel(
                "loss of the generator",
                "iteration",
                "L_G",
                &self.generator_losses,
            ),
            panel(
                "loss of the quantized network",
                "iteration",
                "L_Q",
                &self.student_losses,
            ),
            panel("accuracy", "epoch", "top-1 in %", &self.accuracies),
        ]
    }
}

impl Watcher for Progress<'_> {
    fn iteration(&mut self, iteration: &Iteration) {
        let position = self.iterations as f64;
        self.iterations += 1;
        self.generator_losses
            .push((position, iteration.losses.generator));
        if iteration.epoch >= self.config.warmup_epochs {
            self.student_losses
                .push((position, iteration.losses.student));
        }
        self.bar.set_position(self.iterations as u64);
        let losses = &iteration.losses;
        self.bar.set_message(format!(
            "L_G {:.3} L_Q {:.2}",
            losses.generator, losses.student
        ));
    }

    fn evaluate(
        &mut self,
        epoch: usize,
        trainer: &Trainer,
    ) -> lowbit_host::dfq::Result<Option<Evaluation>> {
        let naive = epoch + 1 == self.config.warmup_epochs.max(1);
        let last = epoch + 1 == self.config.epochs;
        let data = if naive || last {
            self.evaluation
        } else {
            self.subset.as_ref()
        };
        let Some(data) = data else { return Ok(None) };
        if epoch + 1 < self.config.warmup_epochs {
            return Ok(None);
        }
        let network = trainer.quantized_graph()?;
        let classes = FakeQuantized::new(&network)?.classify(data, |_| ())?;
        let top1 = model::top1(&classes, data);
        if naive {
            self.naive = Some(top1);
        }
        if last {
            self.last = Some(top1);
        }
        self.accuracies.push(((epoch + 1) as f64, top1));
        Ok(Some(Evaluation {
            top1,
            images: data.len(),
        }))
    }

    fn epoch(&mut self, epoch: &Epoch) {
        self.training_seconds += epoch.seconds;
        let accuracy = epoch.evaluation.map(|evaluation| {
            format!(", {:.2} % of {} images", evaluation.top1, evaluation.images)
        });
        let losses = &epoch.losses;
        let line = format!(
            "Epoch {}/{}: L_G {:.4}, L_Q {:.3}{}, {:.0} ms per iteration",
            epoch.epoch + 1,
            self.config.epochs,
            losses.generator,
            losses.student,
            accuracy.unwrap_or_default(),
            1e3 * epoch.seconds / self.config.iterations as f64,
        );
        let output = self.output;
        self.bar.suspend(|| output.say(line));
    }
}
