//! Time of each part of an iteration, taken from the spans that the trainer opens.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lowbit_host::dfq::{Iteration, Watcher};
use tracing::span::{Attributes, Id};
use tracing_subscriber::{Layer, layer::Context, prelude::*, registry::LookupSpan};

use crate::clock::{Moment, Span};

/// What each kind of span took, one entry per span.
#[derive(Clone, Default)]
struct SpanTimes(Arc<Mutex<BTreeMap<&'static str, Vec<Span>>>>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SpanTimes {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Moment::now());
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        let start = span.extensions().get::<Moment>().copied();
        if let Some(start) = start {
            let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            times.entry(span.name()).or_default().push(start.elapsed());
        }
    }
}

/// Forgets the warm-up and measures whole iterations and their parts.
pub(crate) struct Stopwatch {
    spans: SpanTimes,
    iterations: Vec<Span>,
    last: Moment,
    warming_up: bool,
}

impl Stopwatch {
    /// One that is told of all spans from now on.
    pub(crate) fn install() -> Self {
        let spans = SpanTimes::default();
        tracing_subscriber::registry().with(spans.clone()).init();
        Self {
            spans,
            iterations: Vec::new(),
            last: Moment::now(),
            warming_up: true,
        }
    }

    pub(crate) fn print(&self) {
        println!(
            "{:32} {:>8} {:>8} {:>8} {:>8}",
            "milliseconds: median and least", "wall", "", "CPU", ""
        );
        let times = self.spans.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (part, spans) in times.iter() {
            print_line(part, spans);
        }
        print_line("iteration", &self.iterations);
    }
}

impl Watcher for Stopwatch {
    fn iteration(&mut self, _: &Iteration) {
        self.iterations.push(self.last.elapsed());
        self.last = Moment::now();
    }

    fn checkpoint(&mut self, _: &Path) {
        if std::mem::take(&mut self.warming_up) {
            self.iterations.clear();
            let mut times = self.spans.0.lock().unwrap_or_else(PoisonError::into_inner);
            times.clear();
        }
        self.last = Moment::now();
    }
}

fn print_line(what: &str, spans: &[Span]) {
    let [wall, wall_least] = median_and_least(spans.iter().map(|span| span.wall));
    let [cpu, cpu_least] = median_and_least(spans.iter().map(|span| span.cpu));
    println!("{what:32} {wall:8.1} {wall_least:8.1} {cpu:8.1} {cpu_least:8.1}");
}

/// In milliseconds.
fn median_and_least(times: impl Iterator<Item = Duration>) -> [f64; 2] {
    let mut times = times.collect::<Vec<_>>();
    times.sort();
    [times.len() / 2, 0].map(|index| {
        times
            .get(index)
            .map_or(0.0, |time| 1e3 * time.as_secs_f64())
    })
}
