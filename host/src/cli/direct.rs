//! Quantizes by a method that trains nothing and fills the run directory.

use std::path::Path;
use std::time::Instant;

use lowbit_host::dfq::direct::{self, Quantized};
use lowbit_host::dfq::{self, RunDirectory};

use super::failure::Failure;
use super::model::{self, samples_path, teacher_path};
use super::training::{self, Plan, Report, Trained};
use super::{Context, log};

/// Quantizes the network of `plan` into the run directory `out`.
pub(super) fn quantize(
    context: &Context,
    plan: &Plan<'_>,
    out: &Path,
    float_top1: Option<f64>,
) -> Result<Trained, Failure> {
    if training::is_unfinished(out)? {
        let message = format!("`{}` holds an unfinished run of training", out.display());
        return Err(Failure::new(message).hint("choose another --out, or delete that directory"));
    }
    let start = Instant::now();
    let directory = RunDirectory::create(out, plan.config)?;
    log::keep_in(out)?;
    plan.teacher.save(&teacher_path(out))?;
    let bar = context
        .output
        .bar(plan.config.synthesis.total_steps() as u64, "images");
    let result = direct::quantize(
        plan.teacher,
        plan.config,
        plan.images,
        &context.stop,
        &mut |step| {
            bar.set_position(step.done as u64);
            bar.set_message(format!("loss {:.3}", step.loss));
        },
    );
    bar.finish_and_clear();
    let quantized = match result {
        Err(dfq::Error::Stopped) => None,
        result => Some(result?),
    };
    let seconds = start.elapsed().as_secs_f64();
    if let Some(Quantized { network, samples }) = &quantized {
        training::write_samples(&samples_path(out), samples, plan.teacher)?;
        network.save(&directory.student_path())?;
    }
    let measure = |data| {
        let network = &quantized.as_ref()?.network;
        let accuracy = model::fake_quantized_accuracy(context.output, network, data);
        Some(accuracy.map(|accuracy| accuracy.top1))
    };
    let report = Report {
        float_top1,
        quantized_top1: plan.evaluation.and_then(measure).transpose()?,
        seconds,
        interrupted: quantized.is_none(),
        ..Report::new(plan, out)
    };
    let (student, samples) = match quantized {
        Some(Quantized { network, samples }) => (Some(network), samples),
        None => (None, Vec::new()),
    };
    Ok(Trained {
        interrupted: report.interrupted,
        report,
        student,
        samples,
    })
}
