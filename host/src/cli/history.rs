//! What a run's metrics say, also those of the part before an interruption.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use lowbit_host::dfq::Config;
use lowbit_host::report::{Curve, EntropyColumn, Panel};
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
        #[serde(flatten)]
        details: Details,
    },
}

#[derive(Debug, Deserialize)]
struct Losses {
    marginal: f64,
    balance: f64,
    statistics: f64,
    generator: f64,
    student: f64,
}

/// What an epoch adds to the accuracy and the time.
#[derive(Debug, Deserialize)]
struct Details {
    student_learning_rate: f64,
    generator_learning_rate: f64,
    entropies: Vec<u64>,
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
    details: BTreeMap<usize, Details>,
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
                    details,
                } => {
                    history.seconds.insert(epoch, seconds);
                    history.details.insert(epoch, details);
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

    /// The parts of the generator's loss and the step sizes.
    pub(crate) fn more_panels(&self, config: &Config) -> Vec<Panel> {
        let part = |label: &str, value: fn(&Losses) -> f64| {
            let points = self.losses.iter().map(|(&(epoch, iteration), losses)| {
                let position = epoch * config.iterations + iteration;
                (position as f64, value(losses))
            });
            Curve {
                label: label.to_owned(),
                points: points.collect(),
            }
        };
        let rate = |label: &str, value: fn(&Details) -> f64| {
            let positive = self
                .details
                .iter()
                .filter(|(_, details)| value(details) > 0.0);
            let points =
                positive.map(|(&epoch, details)| ((epoch + 1) as f64, value(details).log10()));
            Curve {
                label: label.to_owned(),
                points: points.collect(),
            }
        };
        vec![
            Panel {
                title: "parts of the generator's loss".to_owned(),
                x_label: "iteration".to_owned(),
                curves: vec![
                    part("bounds of H'", |losses| losses.marginal),
                    part("alpha_ds L_ds + alpha_as L_as", |losses| losses.balance),
                    part("L_BNS", |losses| losses.statistics),
                ],
            },
            Panel {
                title: "step sizes, powers of ten".to_owned(),
                x_label: "epoch".to_owned(),
                curves: vec![
                    rate("generator", |details| details.generator_learning_rate),
                    rate("quantized network", |details| details.student_learning_rate),
                ],
            },
        ]
    }

    /// The distribution of `H'` in every epoch.
    pub(crate) fn entropies(&self) -> Vec<EntropyColumn> {
        let column = |(&epoch, details): (&usize, &Details)| EntropyColumn {
            epoch: epoch + 1,
            counts: details.entropies.clone(),
        };
        self.details.iter().map(column).collect()
    }
}

fn panel(title: &str, x_label: &str, label: &str, points: Vec<(f64, f64)>) -> Panel {
    Panel {
        title: title.to_owned(),
        x_label: x_label.to_owned(),
        curves: vec![Curve {
            label: label.to_owned(),
            points,
        }],
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
                r#"{{"kind":"iteration","epoch":0,"iteration":0,"losses":{{"marginal":0,"balance":1,"statistics":2,"generator":{loss},"student":2}}}}"#
            )
        };
        let epoch = r#"{"kind":"epoch","epoch":0,"seconds":3,"student_learning_rate":0,"generator_learning_rate":0.001,"entropies":[1,2],"evaluation":{"top1":71.5,"images":9,"subset_top1":70,"subset_images":4}}"#;
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
        let rates = &history.more_panels(&config)[1].curves;
        assert_eq!(rates[0].points, [(1.0, -3.0)]);
        assert_eq!(rates[1].points, []);
        assert_eq!(history.entropies()[0].counts, [1, 2]);
    }
}
