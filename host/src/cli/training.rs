//! Trains a quantized network, shows how far it is, and fills the run directory.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::time::Instant;

use candle_core::{Device, Tensor};
use indicatif::ProgressBar;
use lowbit_host::accuracy;
use lowbit_host::data::Dataset;
use lowbit_host::dfq::files::Archive;
use lowbit_host::dfq::{
    self, Config, Epoch, Error, Evaluation, FakeQuantized, Iteration, Method, Outcome,
    RunDirectory, Trainer, Watcher,
};
use lowbit_host::graph::{Graph, QuantizedGraph};
use lowbit_host::report::write_curves;
use serde::Serialize;

use super::failure::{Failure, Outcome as CommandOutcome};
use super::history::{Best, History};
use super::model::{self, samples_path, teacher_path};
use super::output::{Output, table};
use super::{Context, direct, log, report, snapshots};

/// Generated images that a run keeps.
const SAMPLES: usize = 64;
/// Images that the student is measured on after an epoch; all of them after the warm-up and at the
/// end.
const EVALUATED_PER_EPOCH: usize = 1000;

/// What to train.
#[derive(Clone, Copy)]
pub(crate) struct Plan<'a> {
    pub(crate) teacher: &'a Graph,
    pub(crate) config: &'a Config,
    /// Images of the user, for a method that takes some.
    pub(crate) images: Option<&'a Dataset>,
    /// Images to measure on.
    pub(crate) evaluation: Option<&'a Dataset>,
    /// Checkpoints to keep.
    pub(crate) keep: usize,
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
    pub(crate) method: Method,
    pub(crate) epochs: usize,
    pub(crate) iterations: usize,
    pub(crate) float_top1: Option<f64>,
    /// After the warm-up: ranges from generated images, weights as they were.
    pub(crate) naive_top1: Option<f64>,
    /// After the last epoch.
    pub(crate) quantized_top1: Option<f64>,
    pub(crate) evaluated_images: usize,
    /// The best of all epochs: the test images choose it, so that it says too much.
    pub(crate) best: Option<Best>,
    pub(crate) seconds: f64,
    pub(crate) milliseconds_per_iteration: f64,
    pub(crate) interrupted: bool,
}

impl Report {
    /// Of a run that has measured nothing yet.
    pub(super) fn new(plan: &Plan<'_>, out: &Path) -> Self {
        Self {
            run: out.display().to_string(),
            network: plan.teacher.name.clone(),
            bits: plan.config.bits.to_string(),
            method: plan.config.method,
            epochs: 0,
            iterations: 0,
            float_top1: None,
            naive_top1: None,
            quantized_top1: None,
            best: None,
            evaluated_images: evaluated(plan),
            seconds: 0.0,
            milliseconds_per_iteration: 0.0,
            interrupted: false,
        }
    }

    fn time(&self) -> String {
        let Self {
            seconds,
            milliseconds_per_iteration,
            ..
        } = self;
        if self.iterations == 0 {
            return format!("{seconds:.0} s");
        }
        format!("{seconds:.0} s, {milliseconds_per_iteration:.0} ms per iteration")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |top1: Option<f64>| top1.map(|top1| format!("{top1:.2} %"));
        let mut rows = vec![
            ("run", self.run.clone()),
            ("network", format!("{} at {}", self.network, self.bits)),
            ("time", self.time()),
        ];
        rows.extend(self.best.as_ref().map(|best| ("best", best.to_string())));
        let accuracies = [
            (self.method.title(), self.quantized_top1),
            ("naive", self.naive_top1),
            ("float", self.float_top1),
        ];
        let accuracies = accuracies
            .into_iter()
            .filter_map(|(name, top1)| Some((name, percent(top1)?)));
        rows.splice(0..0, accuracies);
        f.write_str(&table(&rows))
    }
}

/// Trains the student of `plan` in the run directory `out`; a run there that was interrupted goes
/// on. A finished one gets its figures and its page.
pub(crate) fn quantize(context: &Context, plan: &Plan<'_>, out: &Path) -> Result<Trained, Failure> {
    let trained = train(context, plan, out)?;
    if !trained.interrupted {
        let figures = serde_json::to_vec_pretty(&trained.report)?;
        fs_err::write(report::result_path(out), figures)?;
        report::write(out, &report::page_path(out))?;
    }
    Ok(trained)
}

fn train(context: &Context, plan: &Plan<'_>, out: &Path) -> Result<Trained, Failure> {
    refuse_other_run(out)?;
    let output = context.output;
    let float_top1 = plan
        .evaluation
        .map(|data| model::float_accuracy(output, plan.teacher, data))
        .transpose()?
        .map(|accuracy| accuracy.top1);
    if let Some(top1) = float_top1 {
        output.say(format!(
            "Float network: {top1:.2} % of {} images",
            evaluated(plan)
        ));
    }
    if !plan.config.method.trains() {
        return direct::quantize(context, plan, out, float_top1);
    }
    let (directory, mut trainer) = start(output, plan, out)?;
    let start = Instant::now();
    let mut progress = Progress::new(output, plan, &trainer, &directory);
    let outcome = trainer
        .run(&directory, &mut progress, &context.stop)
        .map_err(explain)?;
    progress.bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    let (student, interrupted) = finish(context, plan, &trainer, outcome)?;
    if interrupted {
        output.say("Interrupted; the same command goes on from here");
    }
    let history = History::read(&directory.metrics_path())?;
    let samples = trainer.sample_images(SAMPLES)?;
    if let (Some(student), false) = (&student, interrupted) {
        write_samples(&samples_path(out), &samples, plan.teacher)?;
        write_curves(&out.join("curves.svg"), &history.panels(plan.config))?;
        student.save(&directory.student_path())?;
    }
    let quantized_top1 = match (&student, plan.evaluation) {
        (Some(student), Some(data)) if stages_follow(plan) && !interrupted => {
            Some(model::fake_quantized_accuracy(output, student, data)?.top1)
        }
        _ => history.top1(plan.config.all_epochs() - 1),
    };
    let report = Report {
        epochs: plan.config.all_epochs(),
        iterations: history.iterations(),
        float_top1,
        naive_top1: history.top1(naive_epoch(plan.config)),
        quantized_top1,
        best: history.best(),
        seconds,
        milliseconds_per_iteration: history.milliseconds_per_iteration(plan.config),
        interrupted,
        ..Report::new(plan, out)
    };
    Ok(Trained {
        report,
        student,
        samples,
        interrupted,
    })
}

/// What training has come to, with the stages behind it if it is over, and whether the user has
/// stopped one of the two. No network before the first iteration.
fn finish(
    context: &Context,
    plan: &Plan<'_>,
    trainer: &Trainer,
    outcome: Outcome,
) -> Result<(Option<QuantizedGraph>, bool), Failure> {
    if outcome == Outcome::Interrupted {
        return Ok((trainer.quantized_graph().ok(), true));
    }
    match trainer.finish(&plan.config.stages(), &context.stop) {
        Err(dfq::Error::Stopped) => Ok((trainer.quantized_graph().ok(), true)),
        student => Ok((Some(student?), false)),
    }
}

/// Whether the network changes after its last evaluation in training.
fn stages_follow(plan: &Plan<'_>) -> bool {
    !plan.config.stages().is_empty()
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

/// Whether `out` holds a run that was interrupted.
pub(super) fn is_unfinished(out: &Path) -> Result<bool, Failure> {
    if !out.join("config.toml").exists() {
        return Ok(false);
    }
    Ok(RunDirectory::open(out)?.0.latest_checkpoint()?.is_some())
}

/// A new run, or the one that was interrupted in the same directory.
fn start(output: Output, plan: &Plan<'_>, out: &Path) -> Result<(RunDirectory, Trainer), Failure> {
    let placement = plan.config.device.open(plan.config.rounding())?;
    let trainer = Trainer::new(plan.teacher.clone(), plan.config.clone())?.placed(&placement)?;
    let point = if out.join("config.toml").exists() {
        RunDirectory::open(out)?.0.resume_point()?
    } else {
        None
    };
    let Some(point) = point else {
        let directory = RunDirectory::create(out, plan.config)?.keeping(plan.keep);
        log::keep_in(out)?;
        plan.teacher.save(&teacher_path(out))?;
        return Ok((directory, trainer));
    };
    let (directory, config) = RunDirectory::reopen(out)?;
    log::keep_in(out)?;
    if !config.may_go_on_as(plan.config) || !is_teacher_of(plan.teacher, out)? {
        let message = format!(
            "`{}` holds an unfinished run with another network or other settings",
            out.display()
        );
        return Err(Failure::new(message)
            .hint("give the same flags to go on, choose another --out, or delete that directory"));
    }
    for error in &point.unreadable {
        output.say(format!("Falling back to an earlier checkpoint: {error}"));
    }
    let trainer = trainer.restore(&point.archive)?;
    let progress = trainer.progress();
    let repeated = directory.cut_back(&progress)?;
    output.say(format!(
        "Going on after epoch {}, iteration {}, from `{}`",
        progress.epoch,
        progress.iteration,
        point.path.display()
    ));
    if repeated > 0 {
        output.say(format!(
            "{repeated} lines of metrics after that were removed; the iterations are done again"
        ));
    }
    Ok((directory.keeping(plan.keep), trainer))
}

/// What to do about a run that failed on the way.
fn explain(error: Error) -> Failure {
    let diverged = error.is_divergence();
    let failure = Failure::from(error);
    if diverged {
        failure.with_outcome(CommandOutcome::No).hint(
            "lower --student-learning-rate or --generator-learning-rate, or start from another \
             --seed, in another --out; with an unchanged command the same happens again",
        )
    } else {
        failure
    }
}

/// Whether the run in `out` started from the same float network, bit for bit.
fn is_teacher_of(teacher: &Graph, out: &Path) -> Result<bool, Failure> {
    let scratch = tempfile::tempdir_in(out)?;
    let path = teacher_path(scratch.path());
    teacher.save(&path)?;
    Ok(fs_err::read(path)? == fs_err::read(teacher_path(out))?)
}

/// The epoch, counted from 0, after which the weights are still those of the float network.
fn naive_epoch(config: &Config) -> usize {
    config.warmup_epochs.max(1) - 1
}

pub(super) fn write_samples(
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
    directory: &'a RunDirectory,
}

impl<'a> Progress<'a> {
    fn new(
        output: Output,
        plan: &Plan<'a>,
        trainer: &Trainer,
        directory: &'a RunDirectory,
    ) -> Self {
        let total = plan.config.all_epochs() * plan.config.iterations;
        let data = plan.evaluation;
        let bar = output.bar(total as u64, "training");
        let done = trainer.progress();
        bar.set_position((done.epoch * plan.config.iterations + done.iteration) as u64);
        // What an earlier command has done says nothing about the speed of this one.
        bar.reset_eta();
        Self {
            output,
            bar,
            config: plan.config,
            evaluation: data,
            subset: data.map(|data| data.clone().take(EVALUATED_PER_EPOCH)),
            directory,
        }
    }
}

impl Watcher for Progress<'_> {
    fn iteration(&mut self, iteration: &Iteration) {
        let done = iteration.epoch * self.config.iterations + iteration.iteration + 1;
        self.bar.set_position(done as u64);
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
        if snapshots::is_due(epoch, self.config.epochs) {
            snapshots::write(self.directory.path(), epoch, trainer)?;
        }
        let naive = epoch == naive_epoch(self.config);
        let last = epoch + 1 == self.config.all_epochs();
        let data = if naive || last {
            self.evaluation
        } else {
            self.subset.as_ref()
        };
        let Some(data) = data else { return Ok(None) };
        if epoch < naive_epoch(self.config) {
            return Ok(None);
        }
        let network = trainer.quantized_graph()?;
        let ranks = FakeQuantized::new(&network)?.evaluate(data, |_| ())?;
        let subset = self.subset.as_ref().unwrap_or(data);
        let subset_top1 = accuracy::top1(&ranks[..subset.len()]);
        self.directory
            .offer_best(epoch + 1, subset_top1, &network)?;
        Ok(Some(Evaluation {
            top1: accuracy::top1(&ranks),
            images: data.len(),
            subset_top1,
            subset_images: subset.len(),
        }))
    }

    fn epoch(&mut self, epoch: &Epoch) {
        let accuracy = epoch.evaluation.map(|evaluation| {
            format!(", {:.2} % of {} images", evaluation.top1, evaluation.images)
        });
        let losses = &epoch.losses;
        let line = format!(
            "Epoch {}/{}: L_G {:.4}, L_Q {:.3}{}, {:.0} ms per iteration",
            epoch.epoch + 1,
            self.config.all_epochs(),
            losses.generator,
            losses.student,
            accuracy.unwrap_or_default(),
            1e3 * epoch.seconds / self.config.iterations as f64,
        );
        let output = self.output;
        self.bar.suspend(|| output.say(line));
    }
}
