//! Running ranges of activations.

/// Weight of the past in the running average.
const DECAY: f64 = 0.9;

/// How the average's start at zero is corrected for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartCorrection {
    /// The average divided by the sum of its weights, as in Adam: right from the first batch.
    #[default]
    Textbook,
    /// The published code's recursion, which feeds the corrected average back: a constant range
    /// grows 3945-fold within 21 updates and is back within 1 % after 153.
    FedBack,
}

/// Running minimum and maximum of one tensor over the batches seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RangeObserver {
    correction: StartCorrection,
    min: f64,
    max: f64,
    /// `DECAY` to the number of updates.
    remaining: f64,
}

impl RangeObserver {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(correction: StartCorrection) -> Self {
        Self {
            correction,
            min: 0.0,
            max: 0.0,
            remaining: 1.0,
        }
    }

    /// Takes in the least and greatest value of a batch and returns the range after it.
    pub fn observe(&mut self, min: f64, max: f64) -> (f64, f64) {
        let update = self.advance();
        self.min = update.past * self.min + update.batch * min;
        self.max = update.past * self.max + update.batch * max;
        self.average()
    }

    /// Counts an update whose ends are computed elsewhere and put in by
    /// [`RangeObserver::set_ends`].
    pub(super) fn advance(&mut self) -> Update {
        self.remaining *= DECAY;
        let correction = match self.correction {
            StartCorrection::Textbook => 1.0,
            StartCorrection::FedBack => 1.0 - self.remaining,
        };
        Update {
            past: DECAY / correction,
            batch: (1.0 - DECAY) / correction,
            range: self.range_factor(),
        }
    }

    /// The range, `None` before the first update.
    #[must_use]
    pub fn range(&self) -> Option<(f64, f64)> {
        (self.remaining < 1.0).then(|| self.average())
    }

    /// Sets the range to stay as it is.
    pub fn freeze(&mut self, min: f64, max: f64) {
        self.set_state([min, max, 0.0]);
    }

    /// The averages, not corrected.
    pub(super) fn ends(&self) -> [f64; 2] {
        [self.min, self.max]
    }

    /// Sets what [`RangeObserver::ends`] gives.
    pub(super) fn set_ends(&mut self, [min, max]: [f64; 2]) {
        self.min = min;
        self.max = max;
    }

    /// Numbers that [`RangeObserver::set_state`] continues from.
    pub(super) fn state(&self) -> [f64; 3] {
        [self.min, self.max, self.remaining]
    }

    pub(super) fn set_state(&mut self, [min, max, remaining]: [f64; 3]) {
        *self = Self {
            min,
            max,
            remaining,
            ..*self
        };
    }

    fn average(&self) -> (f64, f64) {
        let factor = self.range_factor();
        (factor * self.min, factor * self.max)
    }

    /// What the averages are multiplied by to give the range.
    fn range_factor(&self) -> f64 {
        match self.correction {
            StartCorrection::Textbook => 1.0 / (1.0 - self.remaining),
            StartCorrection::FedBack => 1.0,
        }
    }
}

/// An update of an average: `past` times the average before it and `batch` times the batch's end
/// make the new one, and that times `range` is the end of the range.
#[derive(Debug, Clone, Copy)]
pub(super) struct Update {
    pub(super) past: f64,
    pub(super) batch: f64,
    pub(super) range: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dfq::{
        golden::{Golden, assert_close},
        quantizer,
    };

    fn ranges(correction: StartCorrection, batches: &[(f32, f32)]) -> (Vec<f64>, Vec<f64>) {
        let mut observer = RangeObserver::new(correction);
        batches
            .iter()
            .map(|&(min, max)| observer.observe(min.into(), max.into()))
            .unzip()
    }

    #[test]
    fn follows_golden_over_900_updates() {
        let Some(golden) = Golden::open("act_range_ema") else {
            return;
        };
        for case in ["const", "relu", "drift"] {
            let key = |part: &str| format!("{case}.{part}");
            let least = golden.f32(&key("batch_min"));
            let greatest = golden.f32(&key("batch_max"));
            let batches: Vec<_> = least.into_iter().zip(greatest).collect();

            let (min, max) = ranges(StartCorrection::FedBack, &batches);
            for (end, got) in [("x_min", min), ("x_max", max)] {
                assert_close(&key(end), &got, &golden.f32(&key(end)), 0.0, 1e-5);
                let exact = format!("{}.f64", key(end));
                assert_close(&exact, &got, &golden.f64(&exact), 0.0, 1e-12);
            }

            let (_, max) = ranges(StartCorrection::Textbook, &batches);
            let corrected = key("adam_corrected_max.f64");
            assert_close(&corrected, &max, &golden.f64(&corrected), 0.0, 1e-12);
        }
    }

    #[test]
    fn follows_golden_over_batches() {
        let Some(golden) = Golden::open("act_quant") else {
            return;
        };
        for case in ["relu", "signed", "positive"] {
            let batches: Vec<_> = golden
                .f32(&format!("{case}.batches"))
                .chunks(2 * 3 * 4 * 4)
                .map(quantizer::range)
                .collect();
            let (min, max) = ranges(StartCorrection::FedBack, &batches);
            for (end, got) in [("x_min_seq", min), ("x_max_seq", max)] {
                let key = format!("{case}.{end}");
                assert_close(&key, &got, &golden.f32(&key), 0.0, 1e-5);
            }
        }
    }

    #[test]
    fn textbook_correction_is_right_at_once() {
        let mut observer = RangeObserver::new(StartCorrection::Textbook);
        assert_eq!(observer.range(), None);
        let (min, max) = observer.observe(-0.5, 1.0);
        assert_close("range", &[min, max], &[-0.5, 1.0], 0.0, 1e-12);
        assert_eq!(observer.range(), Some((min, max)));
    }
}
