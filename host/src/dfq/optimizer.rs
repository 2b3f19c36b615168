//! The optimizers: Adam for the generator, stochastic gradient descent with Nesterov's momentum for
//! the student. Both keep their moments per parameter, matched by position.

use candle_core::Tensor;
use rayon::prelude::*;

use super::{
    Result,
    on_device::{AdamStep, FlatAdam, FlatNesterov},
};
use crate::graph::{Operators, Placement};

/// Elements handed to one thread at a time.
const CHUNK: usize = 1 << 14;

/// Adam with epsilon 1e-8 and no weight decay.
#[derive(Debug, Clone)]
pub struct Adam {
    /// Step size.
    pub learning_rate: f64,
    betas: [f64; 2],
    pub(super) steps: i32,
    pub(super) first: Vec<Vec<f32>>,
    pub(super) second: Vec<Vec<f32>>,
    /// The moments while they are on a device; those above are out of date then.
    on_device: Option<FlatAdam>,
}

impl Adam {
    /// Those of the method's generator.
    const GENERATOR_BETAS: [f64; 2] = [0.5, 0.999];
    pub(super) const EPSILON: f32 = 1e-8;

    /// With betas 0.5 and 0.999, for parameters with the given numbers of elements.
    #[must_use]
    pub fn new(learning_rate: f64, sizes: impl IntoIterator<Item = usize>) -> Self {
        Self::with_betas(learning_rate, Self::GENERATOR_BETAS, sizes)
    }

    /// With the given decays of the first and the second moment.
    #[must_use]
    pub fn with_betas(
        learning_rate: f64,
        betas: [f64; 2],
        sizes: impl IntoIterator<Item = usize>,
    ) -> Self {
        let zeros: Vec<Vec<f32>> = sizes.into_iter().map(|size| vec![0.0; size]).collect();
        Self {
            learning_rate,
            betas,
            steps: 0,
            first: zeros.clone(),
            second: zeros,
            on_device: None,
        }
    }

    /// The same with its moments where `placement` says.
    ///
    /// # Errors
    /// If they cannot be copied.
    pub fn placed(mut self, placement: &Placement) -> Result<Self> {
        if let Some(moments) = self.on_device.take() {
            [self.first, self.second] = moments.to_slices()?;
        }
        if placement.operators != Operators::Tuned {
            self.on_device = Some(FlatAdam::new(&self, &placement.device)?);
        }
        Ok(self)
    }

    /// Moves every parameter by one step. Both lists are in the order of the sizes given to
    /// [`Adam::new`].
    ///
    /// # Errors
    /// If a tensor is not `f32`.
    pub fn step(&mut self, parameters: &mut [&mut Tensor], gradients: &[&Tensor]) -> Result<()> {
        self.steps += 1;
        let [beta_1, beta_2] = self.betas;
        let step_size = self.learning_rate / (1.0 - beta_1.powi(self.steps));
        let correction = (1.0 - beta_2.powi(self.steps)).sqrt();
        if let Some(moments) = &mut self.on_device {
            let step = AdamStep {
                betas: self.betas,
                step_size,
                correction,
            };
            return moments.step(parameters, gradients, step);
        }
        let (step_size, correction) = (step_size as f32, correction as f32);
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((parameter, gradient), (first, second)) in
            parameters.iter_mut().zip(gradients).zip(moments)
        {
            let mut values = values(parameter)?;
            let gradient = self::values(gradient)?;
            values
                .par_chunks_mut(CHUNK)
                .zip(gradient.par_chunks(CHUNK))
                .zip(
                    first
                        .par_chunks_mut(CHUNK)
                        .zip(second.par_chunks_mut(CHUNK)),
                )
                .for_each(|((p, g), (m, v))| {
                    for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
                        *m += (g - *m) * (1.0 - beta_1) as f32;
                        *v = *v * beta_2 as f32 + (1.0 - beta_2) as f32 * g * g;
                        *p -= step_size * (*m / (v.sqrt() / correction + Self::EPSILON));
                    }
                });
            replace(parameter, values)?;
        }
        Ok(())
    }
}

/// Stochastic gradient descent with Nesterov's momentum and weight decay.
#[derive(Debug, Clone)]
pub struct Nesterov {
    /// Step size.
    pub learning_rate: f64,
    momentum: f32,
    weight_decay: f32,
    /// Empty before the first step, whose gradient is the first momentum.
    pub(super) velocity: Vec<Vec<f32>>,
    /// The momentum while it is on a device; that above is out of date then.
    on_device: Option<FlatNesterov>,
}

impl Nesterov {
    /// No step taken yet.
    #[must_use]
    pub fn new(learning_rate: f64, momentum: f64, weight_decay: f64) -> Self {
        Self {
            learning_rate,
            momentum: momentum as f32,
            weight_decay: weight_decay as f32,
            velocity: Vec::new(),
            on_device: None,
        }
    }

    /// The same with its momentum where `placement` says.
    ///
    /// # Errors
    /// If it cannot be copied.
    pub fn placed(mut self, placement: &Placement) -> Result<Self> {
        if let Some(velocity) = self.on_device.take() {
            self.velocity = velocity.to_slices()?;
        }
        if placement.operators != Operators::Tuned {
            self.on_device = Some(FlatNesterov::new(&self, &placement.device)?);
        }
        Ok(self)
    }

    /// Moves every parameter by one step. Both lists keep their order from step to step.
    ///
    /// # Errors
    /// If a tensor is not `f32`.
    pub fn step(&mut self, parameters: &mut [&mut Tensor], gradients: &[&Tensor]) -> Result<()> {
        let (momentum, weight_decay) = (self.momentum.into(), self.weight_decay.into());
        if let Some(velocity) = &mut self.on_device {
            let rate = self.learning_rate;
            return velocity.step(parameters, gradients, rate, momentum, weight_decay);
        }
        let first_step = self.velocity.is_empty();
        for (index, (parameter, gradient)) in parameters.iter_mut().zip(gradients).enumerate() {
            let mut values = values(parameter)?;
            let mut gradient = self::values(gradient)?;
            for (g, p) in gradient.iter_mut().zip(&values) {
                *g += self.weight_decay * p;
            }
            if first_step {
                self.velocity.push(gradient.clone());
            } else {
                for (velocity, g) in self.velocity[index].iter_mut().zip(&gradient) {
                    *velocity = self.momentum * *velocity + g;
                }
            }
            let rate = self.learning_rate as f32;
            for ((p, g), velocity) in values.iter_mut().zip(&gradient).zip(&self.velocity[index]) {
                *p -= rate * (g + self.momentum * velocity);
            }
            replace(parameter, values)?;
        }
        Ok(())
    }
}

/// The learning rate in `epoch`, counted from 0: a tenth of `base` for every step that is at most
/// `epoch`.
#[must_use]
pub fn stepped_learning_rate(base: f64, steps: &[usize], epoch: usize) -> f64 {
    let passed = steps.iter().filter(|&&step| epoch + 1 > step).count();
    base * 0.1_f64.powi(passed as i32)
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

fn replace(tensor: &mut Tensor, values: Vec<f32>) -> Result<()> {
    *tensor = Tensor::from_vec(values, tensor.shape(), tensor.device())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dfq::golden::{Golden, assert_close, flat};

    fn follow(golden: &Golden, name: &str, mut step: impl FnMut(&mut Tensor, &Tensor)) {
        let mut parameter = golden.tensor("p0");
        let gradients = golden.tensor("grads");
        for index in 0..4 {
            step(&mut parameter, &gradients.get(index).unwrap());
            let key = format!("{name}.p{}", index + 1);
            assert_close(&key, &flat(&parameter), &golden.f32(&key), 0.0, 1e-6);
        }
    }

    #[test]
    fn adam_matches_golden() {
        let Some(golden) = Golden::open("optim") else {
            return;
        };
        let mut adam = Adam::new(1e-3, [35]);
        follow(&golden, "adam", |p, g| adam.step(&mut [p], &[g]).unwrap());
    }

    #[test]
    fn nesterov_matches_golden() {
        let Some(golden) = Golden::open("optim") else {
            return;
        };
        let mut sgd = Nesterov::new(1e-2, 0.9, 1e-4);
        follow(&golden, "sgd", |p, g| sgd.step(&mut [p], &[g]).unwrap());
    }

    #[test]
    fn learning_rate_matches_golden() {
        let Some(golden) = Golden::open("optim") else {
            return;
        };
        let rates: Vec<f64> = (0..400)
            .map(|epoch| stepped_learning_rate(1e-4, &[100, 200, 300], epoch))
            .collect();
        let expected = golden.f64("lr_S_by_epoch.f64");
        assert_close("lr_S_by_epoch", &rates, &expected, 0.0, 1e-12);
    }
}
