//! Parameters of a network that has not been trained yet.

use candle_core::{Device, Result, Tensor};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Normal};

use super::Parameters;

/// Normal weights of variance `2 / inputs`, BatchNorm as identity, no biases. The network gets
/// parameter-free shortcuts and plain names (`conv1`, `layer1.0.conv1`, `linear`).
#[derive(Debug)]
pub struct RandomParameters {
    generator: ChaCha12Rng,
}

impl RandomParameters {
    /// The same seed gives the same network.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            generator: ChaCha12Rng::seed_from_u64(seed),
        }
    }

    fn normal(&mut self, shape: &[usize]) -> Result<Tensor> {
        let inputs: usize = shape[1..].iter().product();
        let deviation = (2.0 / inputs.max(1) as f32).sqrt();
        let normal = Normal::new(0.0, deviation).map_err(candle_core::Error::wrap)?;
        let count = shape.iter().product();
        let values: Vec<f32> = normal
            .sample_iter(&mut self.generator)
            .take(count)
            .collect();
        Tensor::from_vec(values, shape, &Device::Cpu)
    }
}

impl Parameters for RandomParameters {
    fn contains(&self, _: &str) -> bool {
        false
    }

    fn get(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        match (shape.len(), name.rsplit('.').next()) {
            (1, Some("bias" | "running_mean")) => {
                Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu)
            }
            (1, _) => Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu),
            _ => self.normal(shape),
        }
    }
}
