//! What is done with every board.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::{panic, thread};

use indicatif::ProgressBar;
use lowbit_host::board::{self, BoardSpec, Client, Comparison, Error, Measurement, Verdict};
use lowbit_host::data::Dataset;
use lowbit_host::integer::IntegerNetwork;

use super::Arguments;
use super::journal::{Journal, Subject};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::link::explain;
use crate::cli::output::Output;

pub(super) struct Task<'a> {
    pub(super) context: &'a Context,
    pub(super) arguments: &'a Arguments,
    pub(super) packed: &'a [u8],
    pub(super) data: &'a Dataset,
}

/// What was found on a board.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) verdict: Verdict,
    /// Durations of the inferences, in the board's unit.
    pub(super) ticks: Vec<u64>,
    /// Of the layers, for the page only.
    pub(super) layers: Option<Measurement>,
}

impl Task<'_> {
    /// Verifies all boards at once; second, those that could not be.
    pub(super) fn verify(&self, boards: &[BoardSpec]) -> (Vec<Found>, Vec<(String, Failure)>) {
        let meter = Meter::new(self.context.output, boards.len() * self.data.len());
        let results = thread::scope(|scope| {
            let meter = &meter;
            let start = |board| (board, scope.spawn(move || self.on_board(board, meter)));
            let threads: Vec<_> = boards.iter().map(start).collect();
            let results = threads.into_iter().map(|(board, thread)| {
                let result = thread.join();
                (
                    board,
                    result.unwrap_or_else(|cause| panic::resume_unwind(cause)),
                )
            });
            results.collect::<Vec<_>>()
        });
        meter.bar.finish_and_clear();
        let (mut found, mut failed) = (Vec::new(), Vec::new());
        for (board, result) in results {
            match result {
                Ok(result) => found.extend(result),
                Err(failure) => failed.push((board.name.clone(), failure)),
            }
        }
        (found, failed)
    }

    /// `None` if all boards are to be tried and this one holds another model.
    fn on_board(&self, board: &BoardSpec, meter: &Meter) -> Result<Option<Found>, Failure> {
        let arguments = self.arguments;
        let mut client = arguments.connection.connect(self.context, &board.name)?;
        let network = IntegerNetwork::new(self.packed)?;
        if arguments.all && board::check_model(&client, network.model()).is_err() {
            return Ok(None);
        }
        let (mut journal, known) = self.journal(&client, board)?.unzip();
        let known = known.unwrap_or_default();
        let mut ticks = Vec::new();
        let mut note = |comparison: &Comparison| {
            meter.add(comparison);
            ticks.push(comparison.ticks);
        };
        known.iter().for_each(&mut note);
        let options = board::Options {
            layers: arguments.layers,
        };
        let verdict = board::resume(
            &mut client,
            self.packed,
            self.data,
            options,
            known,
            &mut |progress| {
                note(progress.latest);
                if let Some(journal) = &mut journal {
                    journal.add(progress.latest);
                }
            },
        );
        if let Some(journal) = journal {
            journal.finish()?;
        }
        let verdict = verdict.map_err(|error| self.explain(error))?;
        let image = self.data.image(0);
        let measured = arguments.report.is_some();
        let layers = measured.then(|| board::bench(&mut client, self.packed, image));
        Ok(Some(Found {
            verdict,
            ticks,
            layers: layers.transpose().map_err(explain)?,
        }))
    }

    /// The notes on this board, and what they say of the images.
    fn journal(
        &self,
        client: &Client,
        board: &BoardSpec,
    ) -> Result<Option<(Journal, Vec<Comparison>)>, Failure> {
        let Some(folder) = &self.arguments.resume else {
            return Ok(None);
        };
        let Some(model) = client.greeting().model else {
            return Ok(None);
        };
        let subject = Subject::new(&model, self.arguments.layers);
        let (journal, mut known) = Journal::open(folder, &board.name, &subject)?;
        known.truncate(self.data.len());
        Ok(Some((journal, known)))
    }

    fn explain(&self, error: Error) -> Failure {
        let hint = match (&error, self.arguments.resume.is_some()) {
            (Error::Interrupted, true) => Some("the same command goes on from here"),
            (Error::OtherImages { .. }, _) => {
                Some("give the same images, or another directory with --resume")
            }
            _ => None,
        };
        let failure = explain(error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Runs the images on the board and here.
pub(crate) fn compare(
    output: Output,
    client: &mut Client,
    packed: &[u8],
    data: &Dataset,
    options: board::Options,
) -> Result<Verdict, Failure> {
    let meter = Meter::new(output, data.len());
    let verdict = board::verify(client, packed, data, options, &mut |progress| {
        meter.add(progress.latest);
    });
    meter.bar.finish_and_clear();
    verdict.map_err(explain)
}

/// Shows how far it is, on all boards together.
struct Meter {
    bar: ProgressBar,
    images: AtomicUsize,
    equal: AtomicUsize,
    correct: AtomicUsize,
}

impl Meter {
    fn new(output: Output, images: usize) -> Self {
        Self {
            bar: output.bar(images as u64, "verifying"),
            images: AtomicUsize::new(0),
            equal: AtomicUsize::new(0),
            correct: AtomicUsize::new(0),
        }
    }

    fn add(&self, comparison: &Comparison) {
        let add = |counter: &AtomicUsize, one: bool| {
            let one = usize::from(one);
            counter.fetch_add(one, Ordering::Relaxed) + one
        };
        let images = add(&self.images, true);
        let equal = add(&self.equal, comparison.equal);
        let correct = add(&self.correct, comparison.board_rank == 0);
        let accuracy = 100.0 * correct as f64 / images as f64;
        self.bar.inc(1);
        self.bar
            .set_message(format!("{equal} equal, {accuracy:.1} % correct"));
    }
}
