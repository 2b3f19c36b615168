//! What a run's metrics say, also those of the part before an interruption.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use lowbit_host::dfq::Config;
use lowbit_host::report::{Curve, Panel};
use serde::{Deserialize, Serialize};

use super::failure::Failure;

/// One line of `metrics.jsonl`, as far as it is needed here.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    Iteration {
        epoch: usize,
        iteration: usize,
        losses: Losses,
    },
    Epoch {
        epoch: usize,
        seconds: f64,
        evaluation: Option<Evaluation>,
    },
}

#[derive(Debug, Deserialize)]
struct Losses {
    generator: f64,
    student: f64,
}

#[derive(Debug, Deserialize)]
struct Evaluation {
    top1: f64,
    subset_top1: f64,
    subset_images: usize,
}

/// The epoch with the highest accuracy on the images that are measured after every epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Best {
    pub(crate) top1: f64,
    pub(crate) images: usize,
    /// Epochs done.
    pub(crate) epochs: usize,
}

impl fmt::Display for Best {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} % of the first {} images after epoch {}, chosen by these images",
            self.top1, self.images, self.epochs
        )
    }
}

/// Losses and accuracies of a run. What was repeated after a crash counts once.
#[derive(Debug, Default)]
pub(crate) struct History {
    losses: BTreeMap<(usize, usize), Losses>,
    accuracies: BTreeMap<usize, f64>,
    best: Option<Best>,
    seconds: BTreeMap<usize, f64>,
}

impl History {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs_err::read_to_string(path)?;
        let mut history = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = match serde_json::from_str(line) {
                Ok(line) => line,
                // A crash may have cut a line short.
                Err(error) => {
                    tracing::warn!("{}, line {}: {error}", path.display(), index + 1);
                    continue;
                }
            };
            match line {
                Line::Iteration {
                    epoch,
                    iteration,
                    losses,
                } => {
                    history.losses.insert((epoch, iteration), losses);
                }
                Line::Epoch {
                    epoch,
                    seconds,
                    evaluation,
                } => {
                    history.seconds.insert(epoch, seconds);
                    if let Some(found) = evaluation {
                        history.accuracies.insert(epoch, found.top1);
                        history.compare(epoch, &found);
                    }
                }
            }
        }
        Ok(history)
    }

    fn compare(&mut self, epoch: usize, found: &Evaluation) {
        if self.best.is_none_or(|best| best.top1 < found.subset_top1) {
            self.best = Some(Best {
                top1: found.subset_top1,
                images: found.subset_images,
                epochs: epoch + 1,
            });
        }
    }

    /// The first of those epochs that no other is better than.
    pub(crate) fn best(&self) -> Option<Best> {
        self.best
    }

    /// Percent after an epoch, counted from 0, if it was measured.
    pub(crate) fn top1(&self, epoch: usize) -> Option<f64> {
        self.accuracies.get(&epoch).copied()
    }

    pub(crate) fn iterations(&self) -> usize {
        self.losses.len()
    }

    /// Mean over all epochs that ran to their end.
    pub(crate) fn milliseconds_per_iteration(&self, config: &Config) -> f64 {
        let iterations = self.seconds.len() * config.iterations;
        1e3 * self.seconds.values().sum::<f64>() / iterations.max(1) as f64
    }

    /// Both losses and the accuracy.
    pub(crate) fn panels(&self, config: &Config) -> Vec<Panel> {
        let position =
            |(epoch, iteration): &(usize, usize)| (epoch * config.iterations + iteration) as f64;
        let generator = self
            .losses
            .iter()
            .map(|(at, losses)| (position(at), losses.generator));
        let learned = self
            .losses
            .iter()
            .filter(|((epoch, _), _)| *epoch >= config.warmup_epochs);
        let student = learned.map(|(at, losses)| (position(at), losses.student));
        let accuracy = self
            .accuracies
            .iter()
            .map(|(epoch, top1)| ((epoch + 1) as f64, *top1));
        let panel = |title: &str, x_label: &str, label: &str, points| Panel {
            title: title.to_owned(),
            x_label: x_label.to_owned(),
            curves: vec![Curve {
                label: label.to_owned(),
                points,
            }],
        };
        vec![
            panel(
                "loss of the generator",
                "iteration",
                "L_G",
                generator.collect(),
            ),
            panel(
                "loss of the quantized network",
                "iteration",
                "L_Q",
                student.collect(),
            ),
            panel("accuracy", "epoch", "top-1 in %", accuracy.collect()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_and_broken_lines_count_once_or_not_at_all() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let iteration = |loss: f64| {
            format!(
                r#"{{"kind":"iteration","epoch":0,"iteration":0,"losses":{{"generator":{loss},"student":2}}}}"#
            )
        };
        let epoch = r#"{"kind":"epoch","epoch":0,"seconds":3,"evaluation":{"top1":71.5,"images":9,"subset_top1":70,"subset_images":4}}"#;
        let text = format!(
            "{}\n{{\"kind\":\"iter\n{}\n{epoch}\n",
            iteration(1.0),
            iteration(4.0)
        );
        fs_err::write(file.path(), text).unwrap();
        let history = History::read(file.path()).unwrap();
        assert_eq!(
            (history.iterations(), history.top1(0), history.top1(1)),
            (1, Some(71.5), None)
        );
        let config = Config {
            iterations: 10,
            warmup_epochs: 0,
            ..Config::default()
        };
        assert_eq!(history.milliseconds_per_iteration(&config), 300.0);
        assert_eq!(history.panels(&config)[0].curves[0].points, [(0.0, 4.0)]);
    }
}
