//! Verdicts for people.

use lowbit_host::board::Verdict;

use super::{Report, Results, Tried};
use crate::cli::output::{columns, grouped, table};

pub(super) fn of(report: &Report) -> String {
    match &report.results {
        Results::One(verdict) => one(report, verdict),
        Results::Several { boards } => several(report, boards),
    }
}

fn one(report: &Report, verdict: &Verdict) -> String {
    let mut rows = vec![("board", format!("{} ({})", verdict.board, verdict.core))];
    rows.extend(references(report));
    rows.extend([
        (
            "host, integers",
            accuracy(verdict.quantized_top1, verdict.quantized_top5),
        ),
        ("board", accuracy(verdict.board_top1, verdict.board_top5)),
    ]);
    rows.extend(facts(verdict));
    table(&rows)
}

/// Accuracies of the networks that the model was made from.
pub(super) fn references(report: &Report) -> Vec<(&'static str, String)> {
    let networks = [
        ("float", report.float_top1, report.float_top5),
        (
            "fake-quantized",
            report.fake_quantized_top1,
            report.fake_quantized_top5,
        ),
    ];
    let known = networks.into_iter();
    let known = known.filter_map(|(name, top1, top5)| Some((name, accuracy(top1?, top5))));
    known.collect()
}

/// What there is to say about a board but its accuracy.
pub(super) fn facts(verdict: &Verdict) -> Vec<(&'static str, String)> {
    let bytes = |bytes: u32| format!("{} bytes", grouped(bytes.into()));
    let mut rows = vec![("agreement", agreement(verdict))];
    if let Some(generation) = verdict.calibration {
        rows.push(("calibration", format!("{generation} is in use, here too")));
    }
    rows.extend(effort(verdict).map(|effort| ("per inference", effort)));
    rows.push(("arena", bytes(verdict.arena_bytes)));
    rows.extend(verdict.stack_bytes.map(|stack| ("stack", bytes(stack))));
    if let Some(difference) = &verdict.first_difference {
        rows.push(("first difference", difference.to_string()));
    }
    rows
}

fn several(report: &Report, boards: &[Tried]) -> String {
    let rows = boards.iter().map(|tried| match tried {
        Tried::Verified(verdict) => vec![
            verdict.board.clone(),
            accuracy(verdict.board_top1, verdict.board_top5),
            effort(verdict).unwrap_or_else(|| "-".to_owned()),
            verdict
                .stack_bytes
                .map_or_else(|| "-".to_owned(), |bytes| grouped(bytes.into())),
            match &verdict.first_difference {
                Some(difference) => difference.to_string(),
                None => agreement(verdict),
            },
        ],
        Tried::Failed { board, error } => {
            let none = || "-".to_owned();
            vec![board.clone(), none(), none(), none(), error.clone()]
        }
    });
    let header = ["board", "top-1", "per inference", "stack B", "agreement"];
    let boards = columns(&header, &rows.collect::<Vec<_>>());
    format!("{}{boards}", table(&references(report)))
}

fn accuracy(top1: f64, top5: Option<f64>) -> String {
    match top5 {
        Some(top5) => format!("{top1:.2} %, top-5 {top5:.2} %"),
        None => format!("{top1:.2} %"),
    }
}

/// `100 % of 20 images, every logit`.
pub(crate) fn agreement(verdict: &Verdict) -> String {
    let equal = verdict.agreement * verdict.images as f64;
    let percent = 100.0 * verdict.agreement;
    format!(
        "{percent:.4} %: all logits equal in {equal:.0} of {} images",
        verdict.images
    )
}

/// Instructions, cycles or time per inference, as the board counts.
pub(crate) fn effort(verdict: &Verdict) -> Option<String> {
    let (count, unit) = counted(verdict)?;
    Some(format!("{} {unit}", grouped(count.round() as u64)))
}

/// What the board counts per inference, and its unit.
pub(super) fn counted(verdict: &Verdict) -> Option<(f64, &'static str)> {
    let counted = [
        (verdict.instructions_per_inference, "instructions"),
        (verdict.cycles_per_inference, "cycles"),
        (verdict.nanoseconds_per_inference, "ns"),
    ];
    counted
        .into_iter()
        .find_map(|(count, unit)| Some((count?, unit)))
}
