//! The middle of an image: the layers of a generator make sides that are multiples of 4.

use candle_core::Tensor;

use super::Result;

/// Rows and columns that are cut off; of an odd number the larger part below and on the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crop {
    before: [usize; 2],
    after: [usize; 2],
}

impl Crop {
    /// From images of `made` rows and columns to `wanted` ones, which are not more.
    pub(super) fn new(made: [usize; 2], wanted: [usize; 2]) -> Self {
        let surplus = [0, 1].map(|axis| made[axis] - wanted[axis]);
        let before = surplus.map(|surplus| surplus / 2);
        Self {
            before,
            after: [0, 1].map(|axis| surplus[axis] - before[axis]),
        }
    }

    /// The middle of `images`, `[batch, channels, made rows, made columns]`.
    pub(super) fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let mut images = images.clone();
        for (axis, (before, after)) in self.sides() {
            let kept = images.dim(axis)? - before - after;
            images = images.narrow(axis, before, kept)?;
        }
        Ok(images.contiguous()?)
    }

    /// Gradient of the whole images for the gradient `grad` of their middle: 0 where they were cut.
    pub(super) fn backward(&self, grad: &Tensor) -> Result<Tensor> {
        let mut grad = grad.clone();
        for (axis, (before, after)) in self.sides() {
            grad = grad.pad_with_zeros(axis, before, after)?;
        }
        Ok(grad)
    }

    /// Index of each dimension of a batch of images, with what is cut off before and behind.
    fn sides(&self) -> [(usize, (usize, usize)); 2] {
        [0, 1].map(|axis| (axis + 2, (self.before[axis], self.after[axis])))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use crate::{
        dfq::{
            generator::{Generator, Sizes},
            golden::flat,
            random::Random,
        },
        graph::{Placement, Precision},
    };

    const CLASSES: usize = 3;
    const LABELS: [usize; 4] = [2, 0, 1, 2];

    type Build = fn(Sizes, &mut Random) -> crate::dfq::Result<Generator>;

    fn generator(build: Build, side: [usize; 2]) -> Generator {
        let sizes = Sizes {
            latent: 6,
            classes: CLASSES,
            image: [2, side[0], side[1]],
        };
        build(sizes, &mut Random::new(5, 0)).unwrap()
    }

    fn placements() -> [Placement; 2] {
        let composed = Placement::composed(Device::Cpu, Precision::Single);
        [Placement::default(), composed]
    }

    /// Values at `rows` x `columns` of images with the sides `made`.
    fn part(images: &[f32], made: [usize; 2], rows: [usize; 2], columns: [usize; 2]) -> Vec<f32> {
        let inside = |index: &usize| {
            let (row, column) = (index / made[1] % made[0], index % made[1]);
            (rows[0]..rows[1]).contains(&row) && (columns[0]..columns[1]).contains(&column)
        };
        let indices = (0..images.len()).filter(inside);
        indices.map(|index| images[index]).collect()
    }

    /// 5 of 8 rows from the second on, 7 of 8 columns from the first on.
    #[test]
    fn images_are_the_middle_of_larger_ones() {
        let noise = Random::new(7, 0).normal((4, 6)).unwrap();
        for build in [Generator::cifar as Build, Generator::imagenet] {
            for placement in placements() {
                let images = |side| {
                    let generator = generator(build, side).placed(&placement).unwrap();
                    let generated = generator.forward(&noise, &LABELS).unwrap();
                    assert_eq!(generated.image().dims(), [4, 2, side[0], side[1]]);
                    flat(generated.image())
                };
                let expected = part(&images([8, 8]), [8, 8], [1, 6], [0, 7]);
                assert_eq!(images([5, 7]), expected);
            }
        }
    }

    /// The same as those of the larger images for a gradient of 0 where they are cut.
    #[test]
    fn gradients_are_those_of_larger_images() {
        let noise = Random::new(7, 0).normal((4, 6)).unwrap();
        let grad = Random::new(8, 0).normal((4, 2, 5, 7)).unwrap();
        let around = grad.pad_with_zeros(2, 1, 2).unwrap();
        let around = around.pad_with_zeros(3, 0, 1).unwrap();
        for build in [Generator::cifar as Build, Generator::imagenet] {
            for placement in placements() {
                let gradients = |side, grad| {
                    let generator = generator(build, side).placed(&placement).unwrap();
                    let generated = generator.forward(&noise, &LABELS).unwrap();
                    let gradients = generator.backward(&generated, grad).unwrap();
                    gradients.iter().flat_map(flat).collect::<Vec<f32>>()
                };
                let found = gradients([5, 7], &grad);
                assert!(found.iter().any(|&gradient| gradient != 0.0));
                assert_eq!(found, gradients([8, 8], &around));
            }
        }
    }

    /// Behind the last convolution nothing has a kink.
    #[test]
    fn gradients_match_finite_differences() {
        const STEP: f32 = 1.0 / 128.0;
        const NAME: &str = "conv_blocks2.3.weight";
        let noise = Random::new(7, 0).normal((4, 6)).unwrap();
        let grad = Random::new(8, 0).normal((4, 2, 5, 7)).unwrap();
        let mut generator = generator(Generator::cifar, [5, 7]);
        let position = generator
            .parameters()
            .iter()
            .position(|(name, _)| name == NAME)
            .unwrap();
        let generated = generator.forward(&noise, &LABELS).unwrap();
        let gradients = generator.backward(&generated, &grad).unwrap();
        let gradient = flat(&gradients[position]);
        let weight = generator.parameters()[position].1.clone();
        let mut loss = |index: usize, step: f32| {
            let mut values = flat(&weight);
            values[index] += step;
            let moved = candle_core::Tensor::from_vec(values, weight.shape(), &Device::Cpu);
            *generator.parameters_mut()[position] = moved.unwrap();
            let generated = generator.forward(&noise, &LABELS).unwrap();
            let (images, grad) = (flat(generated.image()), flat(&grad));
            let products = images.iter().zip(&grad);
            products
                .map(|(&x, &g)| f64::from(x) * f64::from(g))
                .sum::<f64>()
        };
        let largest = gradient.iter().fold(0.0, |a: f32, x| a.max(x.abs()));
        for index in (0..gradient.len()).step_by(37) {
            let difference = loss(index, STEP) - loss(index, -STEP);
            let numeric = difference / f64::from(2.0 * STEP);
            let error = (f64::from(gradient[index]) - numeric).abs();
            assert!(
                error <= 2e-3 * f64::from(largest),
                "{index}: {} but {numeric} by differences",
                gradient[index]
            );
        }
    }
}
