//! What numbers a network expects at its input. Where images are normalised to mean 0 and variance
//! 1, as usual, that is known; networks that read raw pixels, or features of a sound, tell it by
//! the statistics of what their first layer makes of them.
//!
//! ```text
//! mean_o = bias_o + m sum w_o        m: least squares over the output channels o, in units of
//! var_o  = s^2 sum w_o^2                their deviations; s: median
//! ```
//! Neighbouring pixels are alike, which the second line neglects, so that `s` may be wrong by a
//! factor of two. `m` is good: without knowing an image it finds 118 for a network that reads
//! CIFAR-10's pixels from 0 to 255, whose mean is 121.

use candle_core::Tensor;

use super::Result;
use crate::graph::{BatchNorm, Graph, NodeId, Op};

/// Mean and standard deviation of the input, all channels together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputScale {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub std: f64,
}

impl Default for InputScale {
    fn default() -> Self {
        Self {
            mean: 0.0,
            std: 1.0,
        }
    }
}

impl InputScale {
    /// That of `graph`: mean 0 and variance 1 if its normalisation divides by what pictures spread
    /// by, or if its first layer has no BatchNorm that would tell; otherwise estimated.
    ///
    /// # Errors
    /// If a parameter has the wrong type.
    pub fn of(graph: &Graph) -> Result<Self> {
        if graph.normalization.is_standard() {
            return Ok(Self::default());
        }
        let Some(first) = FirstLayer::of(graph)? else {
            return Ok(Self::default());
        };
        Ok(first.scale().unwrap_or_default())
    }

    /// Inputs for `images` of mean 0 and variance 1.
    ///
    /// # Errors
    /// If memory is short.
    pub fn apply(&self, images: &Tensor) -> Result<Tensor> {
        Ok(match *self == Self::default() {
            true => images.clone(),
            false => images.affine(self.std, self.mean)?,
        })
    }

    /// Gradient of the images for the gradient `grad` of what [`InputScale::apply`] made of them.
    ///
    /// # Errors
    /// If memory is short.
    pub fn backward(&self, grad: &Tensor) -> Result<Tensor> {
        let deviation = Self { mean: 0.0, ..*self };
        deviation.apply(grad)
    }
}

/// What a layer with weights makes of the input, per output channel.
struct FirstLayer {
    /// Sum of the weights.
    sums: Vec<f64>,
    /// Sum of their squares.
    squares: Vec<f64>,
    /// Mean of the training data, without the layer's bias.
    means: Vec<f64>,
    /// Variance of the training data.
    vars: Vec<f64>,
    /// What the BatchNorm adds to variances.
    eps: f64,
}

impl FirstLayer {
    /// The first layer with weights that reads the input and is followed by a BatchNorm.
    fn of(graph: &Graph) -> Result<Option<Self>> {
        let is_input = |id: &NodeId| {
            let node = &graph.nodes[id.0];
            let from_input = node.inputs.first() == Some(&NodeId(0));
            id.0 == 0 || (matches!(node.op, Op::Flatten) && from_input)
        };
        let reads_input = |index: usize| graph.nodes[index].inputs.first().is_some_and(is_input);
        for index in (0..graph.nodes.len()).filter(|&index| reads_input(index)) {
            let (weight, bias) = match &graph.nodes[index].op {
                Op::Conv2d(conv) => (&conv.weight, &conv.bias),
                Op::Linear(linear) => (&linear.weight, &linear.bias),
                _ => continue,
            };
            let mut readers = graph.nodes.iter();
            let norm = readers.find_map(|node| match &node.op {
                Op::BatchNorm(norm) if node.inputs == [NodeId(index)] => Some(norm),
                _ => None,
            });
            if let Some(norm) = norm {
                return Self::with(weight, bias.as_ref(), norm).map(Some);
            }
        }
        Ok(None)
    }

    fn with(weight: &Tensor, bias: Option<&Tensor>, norm: &BatchNorm) -> Result<Self> {
        let weights: Vec<Vec<f32>> = weight.flatten_from(1)?.to_vec2()?;
        let over = |of: fn(f64) -> f64| {
            let rows = weights.iter();
            rows.map(|row| row.iter().map(|&weight| of(weight.into())).sum())
                .collect()
        };
        let means: Vec<f32> = match bias {
            Some(bias) => (&norm.running_mean - bias)?.to_vec1()?,
            None => norm.running_mean.to_vec1()?,
        };
        let vars: Vec<f32> = norm.running_var.to_vec1()?;
        Ok(Self {
            sums: over(|weight| weight),
            squares: over(|weight| weight * weight),
            means: means.into_iter().map(f64::from).collect(),
            vars: vars.into_iter().map(f64::from).collect(),
            eps: norm.eps,
        })
    }

    /// `None` if the weights or statistics say nothing.
    fn scale(&self) -> Option<InputScale> {
        let channels = 0..self.vars.len();
        let sum = |of: &[f64]| {
            let products = channels
                .clone()
                .map(|o| self.sums[o] * of[o] / (self.vars[o] + self.eps));
            products.sum::<f64>()
        };
        let mean = sum(&self.means) / sum(&self.sums);
        let alive = channels.clone().filter(|&o| self.squares[o] > 0.0);
        let ratios = alive.map(|o| self.vars[o] / self.squares[o]);
        let mut stds: Vec<f64> = ratios.map(f64::sqrt).collect();
        stds.sort_by(f64::total_cmp);
        let std = *stds.get(stds.len() / 2)?;
        let usable = mean.is_finite() && std.is_finite() && std > 0.0;
        usable.then_some(InputScale { mean, std })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{
        dfq::{golden::flat, random::Random},
        graph::Normalization,
        nn::executor::{BatchStatistics, ForwardOptions, forward},
        zoo::{self, RandomParameters},
    };

    /// MLPerf Tiny's ResNet with random weights, whose first BatchNorm has the statistics of
    /// random inputs of this mean and standard deviation, independent of each other.
    fn network(mean: f64, std: f64, normalization: Normalization) -> Graph {
        let network = zoo::network("mlperf_tiny_resnet8").unwrap();
        let parameters = &mut RandomParameters::new(5);
        let mut graph = network.build(parameters, 10, normalization).unwrap();
        let noise = Random::new(1, 0).normal((16, 3, 32, 32)).unwrap();
        let inputs = noise.affine(std, mean).unwrap();
        let options = ForwardOptions {
            batch_statistics: BatchStatistics::Batch,
            keep_for_backward: true,
            record_batch_norm_inputs: true,
        };
        let pass = forward(&graph, &inputs, options, &mut ()).unwrap();
        let moments = pass.batch_norm_inputs().unwrap().swap_remove(0);
        if let Op::BatchNorm(norm) = &mut graph.nodes[moments.node.0].op {
            let vector = |values: Vec<f32>| Tensor::new(values, &Device::Cpu).unwrap();
            norm.running_mean = vector(moments.mean);
            norm.running_var = vector(moments.var);
        }
        graph
    }

    #[test]
    fn raw_inputs_are_read_off_the_first_batch_norm() {
        for (mean, std) in [(120.0, 60.0), (0.45, 0.25), (-3.0, 9.0)] {
            let graph = network(mean, std, Normalization::identity(3));
            let found = InputScale::of(&graph).unwrap();
            // A thirtieth of what is seen is the padding.
            assert!(
                (found.mean - mean).abs() < 0.1 * std.max(mean.abs()),
                "{found:?}"
            );
            assert!((found.std / std - 1.0).abs() < 0.1, "{found:?} for {std}");
        }
    }

    #[test]
    fn normalised_inputs_are_left_alone() {
        for name in ["imagenet", "cifar10", "cifar100", "0.5,0.5,0.5/0.5,0.5,0.5"] {
            let graph = network(120.0, 60.0, name.parse().unwrap());
            assert_eq!(InputScale::of(&graph).unwrap(), InputScale::default());
        }
        let images = Random::new(2, 0).normal((1, 2, 3)).unwrap();
        let plain = InputScale::default();
        assert_eq!(flat(&plain.apply(&images).unwrap()), flat(&images));
        assert_eq!(flat(&plain.backward(&images).unwrap()), flat(&images));
    }

    #[test]
    fn gradients_are_those_of_the_line() {
        let scale = InputScale {
            mean: 3.0,
            std: 2.0,
        };
        let images = Tensor::new(&[1f32, -0.5], &Device::Cpu).unwrap();
        assert_eq!(flat(&scale.apply(&images).unwrap()), [5.0, 2.0]);
        assert_eq!(flat(&scale.backward(&images).unwrap()), [2.0, -1.0]);
    }

    #[test]
    fn weights_that_say_nothing_are_left_alone() {
        let mut graph = network(1.0, 1.0, Normalization::identity(3));
        for node in &mut graph.nodes {
            if let Op::Conv2d(conv) = &mut node.op {
                conv.weight = conv.weight.zeros_like().unwrap();
            }
        }
        assert_eq!(InputScale::of(&graph).unwrap(), InputScale::default());
    }
}
