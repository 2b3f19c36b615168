//! What many comparisons say together.

use std::collections::BTreeMap;

use lowbit_runtime::protocol::{InfoReply, TickUnit};
use serde::Serialize;

use super::{Comparison, Difference};
use crate::accuracy::{top1, top5};
use crate::board::Greeting;

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Name of the board.
    pub board: String,
    /// Processor core.
    pub core: String,
    /// Images compared.
    pub images: usize,
    /// Share of images whose results were equal, 0 to 1.
    pub agreement: f64,
    /// Percent of images that the host's integer network classified as labelled.
    pub quantized_top1: f64,
    /// Percent of images whose label is among the host's first five; `None` with five or fewer
    /// classes.
    pub quantized_top5: Option<f64>,
    /// Percent of images that the board classified as labelled.
    pub board_top1: f64,
    /// Percent of images whose label is among the board's first five.
    pub board_top5: Option<f64>,
    /// Instructions per inference, if that is what the board counts.
    pub instructions_per_inference: Option<f64>,
    /// Cycles per inference, if that is what the board counts.
    pub cycles_per_inference: Option<f64>,
    /// Nanoseconds per inference, if that is what the board counts.
    pub nanoseconds_per_inference: Option<f64>,
    /// How durations of single inferences differ, in the unit that the board counts.
    pub durations: Durations,
    /// How often each answer was given to each label, where that is not 0; by label, then answer.
    pub confusion: Vec<Answers>,
    /// Bytes of the packed model.
    pub model_bytes: usize,
    /// Generation of the calibration that the board uses, and this machine too; `None` for the
    /// factory's parameters.
    pub calibration: Option<u32>,
    /// Bytes of arena that the model uses.
    pub arena_bytes: u32,
    /// Most bytes of stack that were in use at once, if the board can tell.
    pub stack_bytes: Option<u32>,
    /// The first place at which board and host differ.
    pub first_difference: Option<Difference>,
}

/// The distribution of the durations of inferences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Durations {
    /// The shortest.
    pub least: u64,
    /// Half are shorter.
    pub median: u64,
    /// Nine in ten are shorter.
    pub ninth_decile: u64,
    /// The longest.
    pub most: u64,
}

/// How often the board gave an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Answers {
    /// Class of the images.
    pub label: u16,
    /// Class that the board took them for.
    pub answer: u16,
    /// Number of images.
    pub images: usize,
}

impl Verdict {
    /// Of at least one comparison on a board; the model's size and calibration are still to be
    /// filled in.
    pub(super) fn new(
        board: &Greeting,
        info: InfoReply,
        comparisons: &[Comparison],
        classes: usize,
    ) -> Self {
        let images = comparisons.len();
        let equal = comparisons.iter().filter(|one| one.equal).count();
        let host: Vec<_> = comparisons.iter().map(|one| one.host_rank).collect();
        let ranks: Vec<_> = comparisons.iter().map(|one| one.board_rank).collect();
        let ticks = comparisons.iter().map(|one| u128::from(one.ticks));
        let ticks = ticks.sum::<u128>() as f64 / images.max(1) as f64;
        let ticks_in = |unit| (board.tick == unit).then_some(ticks);
        Self {
            board: board.board.clone(),
            core: board.core.clone(),
            images,
            agreement: equal as f64 / images.max(1) as f64,
            quantized_top1: top1(&host),
            quantized_top5: top5(&host, classes),
            board_top1: top1(&ranks),
            board_top5: top5(&ranks, classes),
            instructions_per_inference: ticks_in(TickUnit::Instructions),
            cycles_per_inference: ticks_in(TickUnit::Cycles),
            nanoseconds_per_inference: ticks_in(TickUnit::Nanoseconds),
            durations: Durations::of(comparisons),
            confusion: confusion(comparisons),
            model_bytes: 0,
            calibration: None,
            arena_bytes: info.arena_used,
            stack_bytes: Some(info.stack_used).filter(|&used| used > 0),
            first_difference: comparisons.iter().find_map(|one| one.difference.clone()),
        }
    }

    /// Whether all results of all images were equal.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.agreement == 1.0
    }
}

impl Durations {
    fn of(comparisons: &[Comparison]) -> Self {
        let mut ticks: Vec<_> = comparisons.iter().map(|one| one.ticks).collect();
        ticks.sort_unstable();
        let last = ticks.len().saturating_sub(1);
        let at = |tenths: usize| ticks.get(last * tenths / 10).copied().unwrap_or_default();
        Self {
            least: at(0),
            median: at(5),
            ninth_decile: at(9),
            most: at(10),
        }
    }
}

fn confusion(comparisons: &[Comparison]) -> Vec<Answers> {
    let mut counts = BTreeMap::new();
    for one in comparisons {
        *counts.entry((one.label, one.answer)).or_insert(0) += 1;
    }
    let answers = counts.into_iter();
    let answers = answers.map(|((label, answer), images)| Answers {
        label,
        answer,
        images,
    });
    answers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(label: u16, answer: u16, ticks: u64) -> Comparison {
        Comparison {
            pixels_crc32: 0,
            label,
            answer,
            host_rank: 0,
            board_rank: u16::from(label != answer),
            equal: true,
            ticks,
            difference: None,
        }
    }

    #[test]
    fn answers_are_counted_by_label() {
        let pairs = [(1, 0), (0, 0), (1, 1), (1, 0)];
        let comparisons = pairs.map(|(label, answer)| comparison(label, answer, 0));
        let found = confusion(&comparisons).into_iter();
        let found = found.map(|one| (one.label, one.answer, one.images));
        assert_eq!(found.collect::<Vec<_>>(), [(0, 0, 1), (1, 0, 2), (1, 1, 1)]);
    }

    #[test]
    fn durations_are_told_by_their_order() {
        let comparisons: Vec<_> = (0..11).rev().map(|ticks| comparison(0, 0, ticks)).collect();
        let found = Durations::of(&comparisons);
        let expected = Durations {
            least: 0,
            median: 5,
            ninth_decile: 9,
            most: 10,
        };
        assert_eq!(found, expected);
        assert_eq!(Durations::of(&[]), Durations::default());
    }
}
