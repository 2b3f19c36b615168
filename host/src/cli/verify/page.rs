//! `--report`: the verdicts on one page.

use std::path::Path;

use lowbit_host::board::{Measurement, Verdict};
use lowbit_host::report::{Bar, Bars, Figure, Matrix, Section, write_page};
use lowbit_host::summary;
use lowbit_runtime::format::Model;

use super::task::{Found, Task};
use super::text::{counted, facts};
use super::{Report, Results, Tried};
use crate::cli::bench::Count;
use crate::cli::failure::Failure;
use crate::cli::output::grouped;

/// Columns of the histogram of durations.
const BINS: usize = 12;

pub(super) fn write(
    path: &Path,
    task: &Task<'_>,
    report: &Report,
    found: &[Found],
) -> Result<(), Failure> {
    let mut sections = vec![accuracy(task, report, found)];
    sections.extend(found.iter().map(|found| board(task, found)));
    sections.extend(not_verified(report));
    sections.push(memory(task)?);
    let model = task.arguments.model.file_name().unwrap_or_default();
    let title = format!("{} on its boards", model.display());
    let equal = found.iter().filter(|found| found.verdict.is_equal());
    let lead = format!(
        "{} of {} boards compute exactly what this computer computes, on {} images of {}",
        equal.count(),
        found.len(),
        task.data.len(),
        task.data.name
    );
    Ok(write_page(path, &title, &lead, &sections)?)
}

fn accuracy(task: &Task<'_>, report: &Report, found: &[Found]) -> Section {
    let mut rows = vec![
        ("float".to_owned(), report.float_top1, report.float_top5),
        (
            "fake-quantized".to_owned(),
            report.fake_quantized_top1,
            report.fake_quantized_top5,
        ),
    ];
    for Found { verdict, .. } in found {
        // Calibrated boards have a host of their own.
        let host = match verdict.calibration {
            Some(_) => format!("host, as {}", verdict.board),
            None => "host, integers".to_owned(),
        };
        if rows.iter().all(|(name, _, _)| *name != host) {
            rows.push((host, Some(verdict.quantized_top1), verdict.quantized_top5));
        }
        let name = verdict.board.clone();
        rows.push((name, Some(verdict.board_top1), verdict.board_top5));
    }
    let known = rows.iter().filter_map(|(name, top1, _)| {
        let value = (*top1)?;
        Some(Bar {
            label: name.clone(),
            value,
            text: format!("{value:.2} %"),
        })
    });
    let mut figures = vec![Figure::Bars(Bars {
        title: "top-1 accuracy".to_owned(),
        bars: known.collect(),
    })];
    let percent = |value: f64| format!("{value:.2} %");
    let cells = rows.iter().filter_map(|(name, top1, top5)| {
        Some(vec![name.clone(), percent((*top1)?), percent((*top5)?)])
    });
    let cells: Vec<_> = cells.collect();
    if !cells.is_empty() {
        let header = ["network", "top-1", "top-5"].map(str::to_owned).to_vec();
        figures.push(Figure::Table {
            header,
            rows: cells,
        });
    }
    Section {
        title: "Accuracy".to_owned(),
        note: format!(
            "Of {} images. Float and fake-quantized are the networks that the model was made from; \
             the host computes in the board's integers.",
            task.data.len()
        ),
        figures,
    }
}

fn board(task: &Task<'_>, found: &Found) -> Section {
    let verdict = &found.verdict;
    let rows = facts(verdict).into_iter();
    let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
    let mut figures = vec![
        Figure::Table {
            header: Vec::new(),
            rows: rows.collect(),
        },
        Figure::Matrix(confusion(verdict, task.data.classes)),
    ];
    figures.extend(found.layers.as_ref().map(layers));
    figures.extend(durations(verdict, &found.ticks));
    Section {
        title: format!("{} ({})", verdict.board, verdict.core),
        note: "Rows of the matrix are labels, columns the board's answers; what is right is blue."
            .to_owned(),
        figures,
    }
}

fn confusion(verdict: &Verdict, classes: usize) -> Matrix {
    let answers = verdict.confusion.iter();
    let counts = answers.map(|answers| (answers.label, answers.answer, answers.images));
    Matrix {
        title: "labels and answers".to_owned(),
        classes,
        counts: counts.collect(),
    }
}

fn layers(measurement: &Measurement) -> Figure {
    let Count { unit, of_layer, .. } = Count::of(measurement);
    let bars = measurement.layers.iter().map(|layer| {
        let value = of_layer(layer).unwrap_or_default();
        Bar {
            label: layer.name.clone(),
            value: value as f64,
            text: grouped(value),
        }
    });
    Figure::Bars(Bars {
        title: format!("{unit} of the layers, first image"),
        bars: bars.collect(),
    })
}

/// A histogram, unless all inferences take the same time.
fn durations(verdict: &Verdict, ticks: &[u64]) -> Option<Figure> {
    let (_, unit) = counted(verdict)?;
    let (least, most) = (verdict.durations.least, verdict.durations.most);
    let width = (most - least).div_ceil(BINS as u64);
    if width == 0 {
        return None;
    }
    let mut counts = [0u64; BINS];
    for tick in ticks {
        let bin = (tick - least) / width;
        counts[(bin as usize).min(BINS - 1)] += 1;
    }
    let bars = counts.iter().zip(0..).map(|(&count, bin)| Bar {
        label: format!("from {}", grouped(least + bin * width)),
        value: count as f64,
        text: grouped(count),
    });
    Some(Figure::Bars(Bars {
        title: format!("inferences by their {unit}"),
        bars: bars.collect(),
    }))
}

/// Boards of which there is nothing else to say.
fn not_verified(report: &Report) -> Option<Section> {
    let Results::Several { boards } = &report.results else {
        return None;
    };
    let failed = boards.iter().filter_map(|tried| match tried {
        Tried::Failed { board, error } => Some(vec![board.clone(), error.clone()]),
        Tried::Verified(_) => None,
    });
    let rows: Vec<_> = failed.collect();
    (!rows.is_empty()).then(|| Section {
        title: "Not verified".to_owned(),
        note: "These boards could not be asked, or not to the end.".to_owned(),
        figures: vec![Figure::Table {
            header: Vec::new(),
            rows,
        }],
    })
}

fn memory(task: &Task<'_>) -> Result<Section, Failure> {
    let plan = summary::memory(&Model::new_checked(task.packed)?);
    Ok(Section {
        title: "Memory".to_owned(),
        note: "The arena over the layers: what is in use, and until when. The column of the layer \
               that needs most is red."
            .to_owned(),
        figures: vec![Figure::Memory(plan)],
    })
}
