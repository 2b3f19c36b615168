//! Time of a training iteration by part: ResNet-20 at CIFAR size, w4a4, after the warm-up.
//!
//! ```text
//! cargo bench -p lowbit-host --bench training_step
//! ```

use std::{
    collections::BTreeMap,
    error::Error,
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::{Duration, Instant},
};

use lowbit_host::{
    dfq::{Config, Iteration, RunDirectory, Trainer, Watcher},
    graph::Normalization,
    zoo,
};
use tracing::span::{Attributes, Id};
use tracing_subscriber::{Layer, layer::Context, prelude::*, registry::LookupSpan};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Iterations of the warm-up, and as many that are measured.
const WARM_UP: usize = 10;

/// Time within each kind of span, one entry per span.
#[derive(Clone, Default)]
struct SpanTimes(Arc<Mutex<BTreeMap<&'static str, Vec<Duration>>>>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SpanTimes {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Instant::now());
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        let elapsed = span.extensions().get::<Instant>().map(Instant::elapsed);
        if let (Some(elapsed), Ok(mut times)) = (elapsed, self.0.lock()) {
            times.entry(span.name()).or_default().push(elapsed);
        }
    }
}

/// Forgets the warm-up and measures whole iterations.
struct Stopwatch {
    spans: SpanTimes,
    iterations: Vec<Duration>,
    last: Instant,
    warming_up: bool,
}

impl Watcher for Stopwatch {
    fn iteration(&mut self, _: &Iteration) {
        self.iterations.push(self.last.elapsed());
        self.last = Instant::now();
    }

    fn checkpoint(&mut self, _: &Path) {
        if std::mem::take(&mut self.warming_up) {
            self.iterations.clear();
            if let Ok(mut times) = self.spans.0.lock() {
                times.clear();
            }
        }
        self.last = Instant::now();
    }
}

fn milliseconds(times: &mut [Duration]) -> String {
    times.sort();
    let at = |index: usize| 1e3 * times[index].as_secs_f64();
    format!("{:8.1} {:8.1}", at(times.len() / 2), at(0))
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn main() -> Result<(), Box<dyn Error>> {
    let normalization = Normalization {
        mean: vec![0.5; 3],
        std: vec![0.25; 3],
    };
    let mut parameters = zoo::RandomParameters::new(1);
    let network = zoo::network("resnet20")?.build(&mut parameters, 10, normalization)?;
    let config = Config {
        epochs: 2,
        warmup_epochs: 1,
        observe_epochs: 1,
        iterations: WARM_UP,
        ..Config::default()
    };
    let spans = SpanTimes::default();
    tracing_subscriber::registry().with(spans.clone()).init();
    let mut stopwatch = Stopwatch {
        spans: spans.clone(),
        iterations: Vec::new(),
        last: Instant::now(),
        warming_up: true,
    };
    let folder = tempfile::tempdir()?;
    let run = RunDirectory::create(folder.path(), &config)?;
    Trainer::new(network, config)?.run(&run, &mut stopwatch, &AtomicBool::new(false))?;

    println!("{:32} {:>8} {:>8}", "milliseconds", "median", "least");
    if let Ok(mut times) = spans.0.lock() {
        for (part, times) in times.iter_mut() {
            println!("{part:32} {}", milliseconds(times));
        }
    }
    println!(
        "{:32} {}",
        "iteration",
        milliseconds(&mut stopwatch.iterations)
    );
    Ok(())
}
