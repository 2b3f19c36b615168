//! The optimizers, on all parameters joined to one vector: a step is then a handful of operations,
//! however many parameters there are.

use candle_core::{Device, Tensor};

use crate::dfq::{
    Result,
    optimizer::{Adam, Nesterov},
};

/// Tensors joined to one vector.
#[derive(Debug, Clone)]
struct Flat {
    sizes: Vec<usize>,
    values: Tensor,
}

impl Flat {
    fn of_tensors<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<Self> {
        let flat = tensors.into_iter().map(Tensor::flatten_all);
        let flat = flat.collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Self {
            sizes: flat.iter().map(Tensor::elem_count).collect(),
            values: Tensor::cat(&flat, 0)?,
        })
    }

    fn of_slices(slices: &[Vec<f32>], device: &Device) -> Result<Self> {
        let values = slices.concat();
        let count = values.len();
        Ok(Self {
            sizes: slices.iter().map(Vec::len).collect(),
            values: Tensor::from_vec(values, count, device)?,
        })
    }

    fn to_slices(&self) -> Result<Vec<Vec<f32>>> {
        let values = self.values.to_vec1::<f32>()?;
        let mut rest = values.as_slice();
        let slices = self.sizes.iter().map(|&size| {
            let (slice, others) = rest.split_at(size);
            rest = others;
            slice.to_vec()
        });
        Ok(slices.collect())
    }

    /// Makes every parameter a view of its part.
    fn hand_out(&self, parameters: &mut [&mut Tensor]) -> Result<()> {
        let mut first = 0;
        for (parameter, &size) in parameters.iter_mut().zip(&self.sizes) {
            let part = self.values.narrow(0, first, size)?;
            **parameter = part.reshape(parameter.shape())?;
            first += size;
        }
        Ok(())
    }
}

fn joined(parameters: &[&mut Tensor]) -> Result<Flat> {
    Flat::of_tensors(parameters.iter().map(|parameter| &**parameter))
}

/// Numbers of one step of [`Adam`].
#[derive(Debug, Clone, Copy)]
pub(in crate::dfq) struct AdamStep {
    /// Decays of the first and the second moment.
    pub(in crate::dfq) betas: [f64; 2],
    /// The learning rate, with the first moment's start corrected for.
    pub(in crate::dfq) step_size: f64,
    /// What the root of the second moment is divided by to correct for its start.
    pub(in crate::dfq) correction: f64,
}

/// Moments of [`Adam`] on a device.
#[derive(Debug, Clone)]
pub(in crate::dfq) struct FlatAdam {
    first: Flat,
    second: Flat,
}

impl FlatAdam {
    pub(in crate::dfq) fn new(adam: &Adam, device: &Device) -> Result<Self> {
        Ok(Self {
            first: Flat::of_slices(&adam.first, device)?,
            second: Flat::of_slices(&adam.second, device)?,
        })
    }

    /// First and second moments per parameter.
    pub(in crate::dfq) fn to_slices(&self) -> Result<[Vec<Vec<f32>>; 2]> {
        Ok([self.first.to_slices()?, self.second.to_slices()?])
    }

    pub(in crate::dfq) fn step(
        &mut self,
        parameters: &mut [&mut Tensor],
        gradients: &[&Tensor],
        step: AdamStep,
    ) -> Result<()> {
        let AdamStep {
            betas: [beta_1, beta_2],
            step_size,
            correction,
        } = step;
        let gradient = Flat::of_tensors(gradients.iter().copied())?.values;
        let (first, second) = (&mut self.first.values, &mut self.second.values);
        *first = (&*first + ((&gradient - &*first)? * (1.0 - beta_1))?)?;
        let square = ((&gradient * (1.0 - beta_2))? * &gradient)?;
        *second = ((&*second * beta_2)? + square)?;
        let epsilon = f64::from(Adam::EPSILON);
        let deviation = second.sqrt()?.affine(1.0 / correction, epsilon)?;
        let change = ((&*first / deviation)? * step_size)?;
        let mut flat = joined(parameters)?;
        flat.values = (flat.values - change)?;
        flat.hand_out(parameters)
    }
}

/// Momentum of [`Nesterov`] on a device.
#[derive(Debug, Clone)]
pub(in crate::dfq) struct FlatNesterov {
    /// `None` before the first step.
    velocity: Option<Flat>,
}

impl FlatNesterov {
    pub(in crate::dfq) fn new(nesterov: &Nesterov, device: &Device) -> Result<Self> {
        let started = !nesterov.velocity.is_empty();
        let velocity = || Flat::of_slices(&nesterov.velocity, device);
        Ok(Self {
            velocity: started.then(velocity).transpose()?,
        })
    }

    /// Velocity per parameter; none before the first step.
    pub(in crate::dfq) fn to_slices(&self) -> Result<Vec<Vec<f32>>> {
        match &self.velocity {
            Some(velocity) => velocity.to_slices(),
            None => Ok(Vec::new()),
        }
    }

    pub(in crate::dfq) fn step(
        &mut self,
        parameters: &mut [&mut Tensor],
        gradients: &[&Tensor],
        rate: f64,
        momentum: f64,
        weight_decay: f64,
    ) -> Result<()> {
        let mut flat = joined(parameters)?;
        let mut gradient = Flat::of_tensors(gradients.iter().copied())?;
        gradient.values = (gradient.values + (&flat.values * weight_decay)?)?;
        let velocity = match self.velocity.take() {
            Some(velocity) => ((velocity.values * momentum)? + &gradient.values)?,
            None => gradient.values.clone(),
        };
        let change = ((&gradient.values + (&velocity * momentum)?)? * rate)?;
        flat.values = (flat.values - change)?;
        self.velocity = Some(Flat {
            values: velocity,
            sizes: gradient.sizes,
        });
        flat.hand_out(parameters)
    }
}
