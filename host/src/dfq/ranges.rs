//! Ranges of activations from what the float network makes of a set of images.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{
    Error, Result,
    fake_quantized::with_values,
    images::ImageSet,
    quantizer::{LinearQuantizer, parallel_range},
};
use crate::{
    graph::{ActivationRange, Graph, NodeId},
    nn::{
        self,
        executor::{self, BatchStatistics, ForwardOptions, Hooks},
    },
};

/// How the range of a quantizer is chosen from the values that it is to quantize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RangeChoice {
    /// From the least to the greatest value.
    #[default]
    MinMax,
    /// Leaves out a share of the values at each end.
    Percentile,
    /// The range with the least mean square error of quantization.
    Mse,
}

impl RangeChoice {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::MinMax, Self::Percentile, Self::Mse];

    /// What the user calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MinMax => "min-max",
            Self::Percentile => "percentile",
            Self::Mse => "mse",
        }
    }
}

impl std::fmt::Display for RangeChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for RangeChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|choice| choice.name() == text);
        found.ok_or_else(|| Error::RangeChoice {
            name: text.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// A choice with its parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RangeRule {
    /// How.
    pub choice: RangeChoice,
    /// Percent of the values that a range of [`RangeChoice::Percentile`] keeps at each end.
    pub percentile: f64,
}

/// Least and greatest value behind a node.
pub type Ends = (f32, f32);

/// The range behind every node of `graph` that has a quantizer, `None` for the others; `bits` has
/// the width of each.
///
/// # Errors
/// [`Error::NoImages`] for an empty set; if the images do not fit the network.
pub fn of_images(
    graph: &Graph,
    bits: &[u8],
    images: &dyn ImageSet,
    rule: RangeRule,
) -> Result<Vec<Option<Ends>>> {
    let mut extremes = Extremes::new(graph);
    run(graph, images, &mut extremes)?;
    if rule.choice == RangeChoice::MinMax {
        return Ok(extremes.0);
    }
    let mut histograms = Histograms::new(&extremes.0);
    run(graph, images, &mut histograms)?;
    let choose = |histogram: Histogram, bits| match rule.choice {
        RangeChoice::Mse => histogram.least_error(bits),
        RangeChoice::MinMax | RangeChoice::Percentile => Ok(histogram.within(rule.percentile)),
    };
    let histograms = histograms.0.into_iter().zip(bits);
    histograms
        .map(|(histogram, &bits)| histogram.map(|found| choose(found, bits)).transpose())
        .collect()
}

fn run(graph: &Graph, images: &dyn ImageSet, hooks: &mut dyn Hooks) -> Result<()> {
    if images.batches() == 0 {
        return Err(Error::NoImages);
    }
    let options = ForwardOptions {
        batch_statistics: BatchStatistics::Running,
        keep_for_backward: false,
        record_batch_norm_inputs: false,
    };
    for index in 0..images.batches() {
        executor::forward(graph, &images.batch(index)?.images, options, hooks)?;
    }
    Ok(())
}

/// Least and greatest value so far.
struct Extremes(Vec<Option<Ends>>);

impl Extremes {
    fn new(graph: &Graph) -> Self {
        let empty = (f32::INFINITY, f32::NEG_INFINITY);
        let quantizers = graph.quantizers().into_iter();
        Self(quantizers.map(|found| found.map(|_| empty)).collect())
    }
}

impl Hooks for Extremes {
    fn output(&mut self, node: NodeId, value: Tensor) -> nn::Result<Tensor> {
        if let Some((min, max)) = &mut self.0[node.0] {
            let (least, greatest) = with_values(&value, parallel_range).map_err(hook)?;
            (*min, *max) = (min.min(least), max.max(greatest));
        }
        Ok(value)
    }
}

struct Histograms(Vec<Option<Histogram>>);

impl Histograms {
    fn new(ends: &[Option<Ends>]) -> Self {
        Self(ends.iter().map(|ends| ends.map(Histogram::new)).collect())
    }
}

impl Hooks for Histograms {
    fn output(&mut self, node: NodeId, value: Tensor) -> nn::Result<Tensor> {
        if let Some(histogram) = &mut self.0[node.0] {
            with_values(&value, |values| histogram.add(values)).map_err(hook)?;
        }
        Ok(value)
    }
}

fn hook(error: Error) -> nn::Error {
    nn::Error::Hook(Box::new(error))
}

/// How often values of each size occur.
#[derive(Debug, Clone)]
struct Histogram {
    ends: Ends,
    counts: Vec<u64>,
}

impl Histogram {
    const BINS: usize = 2048;
    /// Shares of the whole range that are tried.
    const TRIED: usize = 100;

    fn new(ends: Ends) -> Self {
        Self {
            ends,
            counts: vec![0; Self::BINS],
        }
    }

    fn bin_width(&self) -> f32 {
        (self.ends.1 - self.ends.0) / Self::BINS as f32
    }

    fn centre(&self, bin: usize) -> f32 {
        self.ends.0 + (bin as f32 + 0.5) * self.bin_width()
    }

    fn add(&mut self, values: &[f32]) {
        let per_unit = 1.0 / self.bin_width();
        for value in values {
            let bin = ((value - self.ends.0) * per_unit) as usize;
            self.counts[bin.min(Self::BINS - 1)] += 1;
        }
    }

    /// The ends beyond which no more than `100 - percentile` percent of the values lie on either
    /// side. An end at 0 or on the far side of it stays, as what lies there is not rare.
    fn within(&self, percentile: f64) -> Ends {
        let total = self.counts.iter().sum::<u64>() as f64;
        let left_out = total * (1.0 - percentile / 100.0);
        let beyond = |bins: &mut dyn Iterator<Item = &u64>| {
            let mut sum = 0.0;
            bins.take_while(|&&count| {
                sum += count as f64;
                sum <= left_out
            })
            .count()
        };
        let (min, max) = self.ends;
        let below = beyond(&mut self.counts.iter()) as f32 * self.bin_width();
        let above = beyond(&mut self.counts.iter().rev()) as f32 * self.bin_width();
        let least = if min < 0.0 {
            (min + below).min(0.0)
        } else {
            min
        };
        let greatest = if max > 0.0 {
            (max - above).max(0.0)
        } else {
            max
        };
        (least, greatest)
    }

    /// The whole range, shrunk towards 0 by the factor that quantizes best.
    fn least_error(&self, bits: u8) -> Result<Ends> {
        let mut best = (f64::INFINITY, self.ends);
        for tried in (1..=Self::TRIED).rev() {
            let share = tried as f32 / Self::TRIED as f32;
            let ends = (self.ends.0 * share, self.ends.1 * share);
            let error = self.error(ends, bits)?;
            if error < best.0 {
                best = (error, ends);
            }
        }
        Ok(best.1)
    }

    /// Sum of the squared errors of all values.
    fn error(&self, (min, max): Ends, bits: u8) -> Result<f64> {
        let quantizer = LinearQuantizer::new(&ActivationRange { bits, min, max })?;
        let filled = self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0);
        Ok(filled
            .map(|(bin, &count)| {
                let value = self.centre(bin);
                let error = value - quantizer.value(quantizer.code(value));
                count as f64 * f64::from(error).powi(2)
            })
            .sum())
    }
}

#[cfg(test)]
mod tests;
