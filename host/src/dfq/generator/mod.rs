//! The generator: noise and classes to images.

mod architecture;
mod crop;
mod modulation;

use candle_core::Tensor;

pub use architecture::Sizes;
use crop::Crop;
pub use modulation::{Modulation, ModulationGradients};

use super::{Result, input_scale::InputScale, parameter_key};
use crate::{
    graph::{Graph, Placement},
    nn::executor::{self, BatchStatistics, ExtraGradients, Forward, ForwardOptions, Hooks, Wanted},
};

/// A network from noise and classes to inputs of another network. It always normalises with the
/// statistics of the batch.
#[derive(Debug, Clone)]
pub struct Generator {
    sizes: Sizes,
    stages: Vec<Stage>,
    crop: Crop,
    scale: InputScale,
}

/// A piece of the generator: what depends on the class comes first, the rest is a graph.
#[derive(Debug, Clone)]
struct Stage {
    modulation: Option<Modulation>,
    graph: Graph,
}

/// Images with what is needed to go back from them.
#[derive(Debug)]
pub struct Generated {
    labels: Tensor,
    passes: Vec<StagePass>,
    image: Tensor,
}

#[derive(Debug)]
struct StagePass {
    input: Tensor,
    forward: Forward,
}

impl Generated {
    /// `[batch, channels, height, width]`, as the other network reads it.
    #[must_use]
    pub fn image(&self) -> &Tensor {
        &self.image
    }
}

impl Generator {
    /// Its sizes.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// The same generator with images of mean and standard deviation `scale` instead of 0 and 1.
    #[must_use]
    pub fn scaled(self, scale: InputScale) -> Self {
        Self { scale, ..self }
    }

    /// Where it is computed.
    #[must_use]
    pub fn placement(&self) -> Placement {
        let first = self.stages.first();
        first.map_or_else(Placement::default, |stage| stage.graph.placement.clone())
    }

    /// The same generator elsewhere.
    ///
    /// # Errors
    /// If the device has no room for it.
    pub fn placed(mut self, placement: &Placement) -> Result<Self> {
        for stage in &mut self.stages {
            stage.graph = stage.graph.placed(placement)?;
        }
        for parameter in self.parameters_mut() {
            *parameter = parameter.to_device(&placement.device)?;
        }
        Ok(self)
    }

    /// Makes one image per row of `noise`, `[batch, latent]`, and entry of `labels`.
    ///
    /// # Errors
    /// If shapes do not fit or a label is no class.
    pub fn forward(&self, noise: &Tensor, labels: &[usize]) -> Result<Generated> {
        self.forward_with(noise, labels, &mut ())
    }

    fn forward_with(
        &self,
        noise: &Tensor,
        labels: &[usize],
        hooks: &mut dyn Hooks,
    ) -> Result<Generated> {
        let labels: Vec<u32> = labels.iter().map(|&label| label as u32).collect();
        let device = &self.placement().device;
        let labels = Tensor::from_vec(labels, noise.dim(0)?, device)?;
        let options = ForwardOptions {
            batch_statistics: BatchStatistics::Batch,
            keep_for_backward: true,
            record_batch_norm_inputs: false,
        };
        let mut passes = Vec::with_capacity(self.stages.len());
        let mut value = noise.to_device(device)?;
        for stage in &self.stages {
            let input = value;
            let modulated = match &stage.modulation {
                Some(modulation) => modulation.forward(&input, &labels)?,
                None => input.clone(),
            };
            let forward = executor::forward(&stage.graph, &modulated, options, hooks)?;
            value = forward.output().clone();
            passes.push(StagePass { input, forward });
        }
        Ok(Generated {
            labels,
            passes,
            image: self.scale.apply(&self.crop.forward(&value)?)?,
        })
    }

    /// Gradients of all parameters, in the order of [`Generator::parameters`], for the gradient
    /// `grad` of the images.
    ///
    /// # Errors
    /// If shapes do not fit.
    pub fn backward(&self, generated: &Generated, grad: &Tensor) -> Result<Vec<Tensor>> {
        let mut gradients = Vec::with_capacity(self.stages.len());
        let mut grad = Some(self.crop.backward(&self.scale.backward(grad)?)?);
        for (stage, pass) in self.stages.iter().zip(&generated.passes).rev() {
            let Some(output_grad) = grad else { break };
            let (of_stage, of_input) = stage.backward(pass, &generated.labels, &output_grad)?;
            gradients.push(of_stage);
            grad = of_input;
        }
        Ok(gradients.into_iter().rev().flatten().collect())
    }

    /// Trained tensors with their names: stage after stage, tables of classes before the graph.
    #[must_use]
    pub fn parameters(&self) -> Vec<(String, &Tensor)> {
        let mut parameters = Vec::new();
        for Stage { modulation, graph } in &self.stages {
            if let Some(Modulation {
                names: [of_factor, of_summand],
                factor,
                summand,
            }) = modulation
            {
                parameters.push((of_factor.clone(), factor));
                parameters.extend(summand.iter().map(|table| (of_summand.clone(), table)));
            }
            let of_graph = graph.parameters().into_iter();
            parameters.extend(of_graph.map(|(id, tensor)| (parameter_key(graph, id), tensor)));
        }
        parameters
    }

    /// The tensors of [`Generator::parameters`], to be replaced by others of the same shapes.
    #[must_use]
    pub fn parameters_mut(&mut self) -> Vec<&mut Tensor> {
        let mut parameters = Vec::new();
        for Stage { modulation, graph } in &mut self.stages {
            if let Some(Modulation {
                factor, summand, ..
            }) = modulation
            {
                parameters.push(factor);
                parameters.extend(summand);
            }
            parameters.extend(graph.parameters_mut().into_iter().map(|(_, tensor)| tensor));
        }
        parameters
    }
}

impl Stage {
    /// Gradients of the stage's parameters and, if it begins with a table of classes, of what
    /// enters it.
    fn backward(
        &self,
        pass: &StagePass,
        labels: &Tensor,
        grad: &Tensor,
    ) -> Result<(Vec<Tensor>, Option<Tensor>)> {
        let wanted = Wanted {
            input: self.modulation.is_some(),
            parameters: true,
        };
        let gradients = executor::backward(
            &self.graph,
            &pass.forward,
            grad,
            wanted,
            &ExtraGradients::default(),
        )?;
        let of_graph = gradients.parameters.into_values();
        let (Some(modulation), Some(grad)) = (&self.modulation, gradients.input) else {
            return Ok((of_graph.collect(), None));
        };
        let tables = modulation.backward(&pass.input, labels, &grad)?;
        let of_tables = std::iter::once(tables.factor).chain(tables.summand);
        Ok((of_tables.chain(of_graph).collect(), Some(tables.input)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{
        dfq::{
            golden::{Golden, assert_close, assert_norm, flat, norm_distance},
            random::Random,
        },
        graph::{NodeId, Op},
        nn::executor::BatchNormInput,
    };

    /// Gradients that are 0 but for rounding: biases that a BatchNorm takes out again.
    const WITHOUT_GRADIENT: [&str; 4] = [
        "conv_blocks1.0.bias",
        "conv_blocks2.0.bias",
        "conv_blocks1_0.bias",
        "conv_blocks2_0.bias",
    ];

    fn set_parameters(generator: &mut Generator, golden: &Golden) {
        let names: Vec<String> = generator
            .parameters()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        for (name, parameter) in names.iter().zip(generator.parameters_mut()) {
            let stored = golden.tensor(&format!("param.{name}"));
            assert_eq!(stored.dims(), parameter.dims(), "{name}");
            *parameter = stored;
        }
    }

    fn batch_norms(generator: &Generator, generated: &Generated) -> Vec<(String, BatchNormInput)> {
        let stages = generator.stages.iter().zip(&generated.passes);
        stages
            .flat_map(|(stage, pass)| {
                let inputs = pass.forward.batch_norm_inputs().unwrap().into_iter();
                inputs.map(|input| (stage.graph.nodes[input.node.0].name.clone(), input))
            })
            .collect()
    }

    /// Values within rounding of the kink of a LeakyReLU have a gradient that depends on how the
    /// sums before them were rounded, and a single one of a million is felt in every gradient
    /// behind it. The reference's signs are not stored; this tries them.
    struct Kinks {
        /// What LeakyReLUs read.
        nodes: Vec<NodeId>,
        /// A bit per value at a kink: whether it is positive.
        signs: u32,
        found: u32,
    }

    impl Kinks {
        const WIDTH: f32 = 5e-7;

        fn of(generator: &Generator, signs: u32) -> Self {
            let nodes = generator.stages.iter().flat_map(|stage| &stage.graph.nodes);
            let leaky = nodes.filter(|node| matches!(node.op, Op::LeakyRelu { .. }));
            Self {
                nodes: leaky.map(|node| node.inputs[0]).collect(),
                signs,
                found: 0,
            }
        }
    }

    impl Hooks for Kinks {
        fn output(&mut self, node: NodeId, value: Tensor) -> crate::nn::Result<Tensor> {
            if !self.nodes.contains(&node) {
                return Ok(value);
            }
            let mut values = flat(&value);
            for value in values.iter_mut().filter(|value| value.abs() < Self::WIDTH) {
                let positive = self.signs >> self.found & 1 == 1;
                *value = value.abs() * if positive { 1.0 } else { -1.0 };
                self.found += 1;
            }
            Ok(Tensor::from_vec(values, value.shape(), &Device::Cpu)?)
        }
    }

    /// Gradients that the stored ones can be held against, the best choice of signs at kinks.
    fn gradients_like_golden(generator: &Generator, golden: &Golden) -> Vec<Tensor> {
        let (noise, labels) = (golden.tensor("z"), golden.labels("labels"));
        let gradients = |signs| {
            let mut kinks = Kinks::of(generator, signs);
            let generated = generator.forward_with(&noise, &labels, &mut kinks).unwrap();
            let gradients = generator.backward(&generated, &golden.tensor("r")).unwrap();
            (kinks.found, gradients)
        };
        let distance = |gradients: &[Tensor]| {
            let named = generator.parameters().into_iter().zip(gradients);
            let distances = named.map(|((name, _), gradient)| {
                let expected = golden.f32(&format!("grad.{name}"));
                norm_distance(&flat(gradient)[..expected.len()], &expected)
            });
            distances.sum::<f64>()
        };
        let (kinks, first) = gradients(0);
        let others = (1..1 << kinks).map(|signs| gradients(signs).1);
        let all = std::iter::once(first).chain(others);
        all.min_by(|a, b| distance(a).total_cmp(&distance(b)))
            .unwrap()
    }

    fn check(mut generator: Generator, golden: &Golden) {
        set_parameters(&mut generator, golden);
        let labels = golden.labels("labels");
        let generated = generator.forward(&golden.tensor("z"), &labels).unwrap();
        assert_eq!(generated.image().dims(), golden.tensor("image").dims());
        assert_close(
            "image",
            &flat(generated.image()),
            &golden.f32("image"),
            2e-5,
            0.0,
        );

        let norms = batch_norms(&generator, &generated);
        assert_eq!(norms.len(), 4);
        for (name, input) in norms {
            let mean = format!("bn_batch_mean.{name}");
            let var = format!("bn_batch_var.{name}");
            // Means are differences of large numbers: near 0 the spread is what they are held to.
            let spread = f64::from(input.var.iter().copied().fold(0.0, f32::max).sqrt());
            assert_close(&mean, &input.mean, &golden.f32(&mean), 1e-6 * spread, 1e-4);
            assert_close(&var, &input.var, &golden.f32(&var), 0.0, 1e-4);
        }

        let gradients = gradients_like_golden(&generator, golden);
        let parameters = generator.parameters();
        assert_eq!(gradients.len(), parameters.len());
        for ((name, parameter), gradient) in parameters.into_iter().zip(gradients) {
            assert_eq!(gradient.dims(), parameter.dims(), "{name}");
            let expected = golden.f32(&format!("grad.{name}"));
            let got = flat(&gradient);
            let stored_rows = &got[..expected.len()];
            if WITHOUT_GRADIENT.contains(&name.as_str()) {
                assert_close(&name, stored_rows, &expected, 1e-2, 0.0);
                continue;
            }
            assert_norm(&name, stored_rows, &expected, 1e-3);
            let norm = norm_distance(&got, &vec![0.0; got.len()]);
            let expected_norm = golden.f32(&format!("grad_norm.{name}"));
            assert_close(&name, &[norm], &expected_norm, 0.0, 1e-3);
        }
    }

    fn sizes(latent: usize, classes: usize, side: usize) -> Sizes {
        Sizes {
            latent,
            classes,
            image: [3, side, side],
        }
    }

    #[test]
    fn small_cifar_generator_matches_golden() {
        let Some(golden) = Golden::open("generator_cifar_small") else {
            return;
        };
        let mut random = Random::new(0, 0);
        check(
            Generator::cifar(sizes(16, 10, 8), &mut random).unwrap(),
            &golden,
        );
    }

    #[test]
    fn full_cifar_generator_matches_golden() {
        let Some(golden) = Golden::open("generator_cifar_full") else {
            return;
        };
        let mut random = Random::new(0, 0);
        check(
            Generator::cifar(sizes(100, 10, 32), &mut random).unwrap(),
            &golden,
        );
    }

    #[test]
    fn small_imagenet_generator_matches_golden() {
        let Some(golden) = Golden::open("generator_imagenet_small") else {
            return;
        };
        let mut random = Random::new(0, 0);
        check(
            Generator::imagenet(sizes(16, 8, 8), &mut random).unwrap(),
            &golden,
        );
    }

    #[test]
    fn parameters_start_as_in_pytorch() {
        let generator = Generator::cifar(sizes(100, 10, 32), &mut Random::new(3, 0)).unwrap();
        let parameters = generator.parameters();
        let count: usize = parameters
            .iter()
            .map(|(_, tensor)| tensor.elem_count())
            .sum();
        assert_eq!(count, 1_052_139);
        let values = |name: &str| {
            let (_, tensor) = parameters.iter().find(|(found, _)| found == name).unwrap();
            flat(tensor)
        };
        let bound = (128.0_f32 * 9.0).sqrt().recip();
        for name in ["conv_blocks1.0.weight", "conv_blocks1.0.bias"] {
            let greatest = values(name).iter().fold(0.0_f32, |a, x| a.max(x.abs()));
            assert!(
                (0.9 * bound..=bound).contains(&greatest),
                "{name}: {greatest}"
            );
        }
        assert!(
            values("conv_blocks1.1.weight")
                .iter()
                .all(|&gamma| gamma == 1.0)
        );
        assert!(
            values("conv_blocks1.1.bias")
                .iter()
                .all(|&beta| beta == 0.0)
        );
    }
}
