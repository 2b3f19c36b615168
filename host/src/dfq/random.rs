//! Random tensors from one seeded generator.

use candle_core::{Device, Shape, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::Result;

/// A source of random tensors; the same seed gives the same numbers on every machine.
#[derive(Debug, Clone)]
pub struct Random {
    rng: ChaCha8Rng,
}

impl Random {
    /// Streams of one seed are independent of each other.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self { rng }
    }

    /// Goes to `position` of the stream.
    #[must_use]
    pub fn at(mut self, position: u128) -> Self {
        self.rng.set_word_pos(position);
        self
    }

    /// How far the stream has been read.
    #[must_use]
    pub fn position(&self) -> u128 {
        self.rng.get_word_pos()
    }

    /// Standard normal numbers.
    ///
    /// # Errors
    /// If the tensor cannot be made.
    pub fn normal(&mut self, shape: impl Into<Shape>) -> Result<Tensor> {
        self.tensor(shape, |rng| rng.sample(StandardNormal))
    }

    /// Numbers evenly distributed between `-bound` and `bound`.
    ///
    /// # Errors
    /// If the tensor cannot be made.
    pub fn uniform(&mut self, shape: impl Into<Shape>, bound: f64) -> Result<Tensor> {
        let bound = bound as f32;
        self.tensor(shape, |rng| rng.random_range(-bound..=bound))
    }

    /// `count` classes, all as likely.
    #[must_use]
    pub fn labels(&mut self, count: usize, classes: usize) -> Vec<usize> {
        let mut label = || self.rng.random_range(0..classes);
        (0..count).map(|_| label()).collect()
    }

    /// Any number, all as likely.
    #[must_use]
    pub fn number(&mut self) -> u64 {
        self.rng.random()
    }

    fn tensor(
        &mut self,
        shape: impl Into<Shape>,
        mut number: impl FnMut(&mut ChaCha8Rng) -> f32,
    ) -> Result<Tensor> {
        let shape = shape.into();
        let values = (0..shape.elem_count())
            .map(|_| number(&mut self.rng))
            .collect();
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dfq::golden::flat;

    #[test]
    fn a_stream_is_continued_where_it_stopped() {
        let mut whole = Random::new(7, 1);
        let _ = whole.normal(33).unwrap();
        let position = whole.position();
        let mut rest = Random::new(7, 1).at(position);
        assert_eq!(
            flat(&whole.normal(5).unwrap()),
            flat(&rest.normal(5).unwrap())
        );
        let mut other = Random::new(7, 2).at(position);
        assert_ne!(whole.labels(20, 10), other.labels(20, 10));
    }

    #[test]
    fn numbers_have_the_right_spread() {
        let mut random = Random::new(1, 0);
        let normal = flat(&random.normal(20_000).unwrap());
        let mean = normal.iter().sum::<f32>() / 20_000.0;
        let variance = normal.iter().map(|x| x * x).sum::<f32>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05);
        let uniform = flat(&random.uniform(20_000, 0.5).unwrap());
        let greatest = uniform.iter().fold(0.0_f32, |a, x| a.max(x.abs()));
        assert!((0.49..=0.5).contains(&greatest));
    }
}
