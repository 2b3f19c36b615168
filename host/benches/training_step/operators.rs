//! Convolutions of the training step beside a large matrix product.

use std::error::Error;

use candle_core::{Device, Tensor};
use lowbit_host::graph::{Conv2d, Padding};
use lowbit_host::nn::ops::{conv2d, upsampled_conv2d};

use crate::clock::Moment;

const BATCH: usize = 16;
const RUNS: usize = 15;
/// Rows and columns of the matrices.
const MATRIX: usize = 1536;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A 3x3 convolution of the training step.
struct Layer {
    name: &'static str,
    inputs: usize,
    outputs: usize,
    /// Rows and columns of its output.
    size: usize,
    groups: usize,
    /// Whether a nearest x2 upsampling comes before it.
    upsampled: bool,
}

const fn layer(name: &'static str, inputs: usize, outputs: usize, size: usize) -> Layer {
    Layer {
        name,
        inputs,
        outputs,
        size,
        groups: 1,
        upsampled: false,
    }
}

const LAYERS: [Layer; 8] = [
    Layer {
        upsampled: true,
        ..layer("x2, 128 -> 128 @16x16", 128, 128, 16)
    },
    Layer {
        upsampled: true,
        ..layer("x2, 128 -> 64 @32x32", 128, 64, 32)
    },
    layer("128 -> 64 @32x32", 128, 64, 32),
    layer("64 -> 3 @32x32", 64, 3, 32),
    layer("16 -> 16 @32x32", 16, 16, 32),
    layer("32 -> 32 @16x16", 32, 32, 16),
    layer("64 -> 64 @8x8", 64, 64, 8),
    Layer {
        groups: 96,
        ..layer("depthwise 96 @16x16", 96, 96, 16)
    },
];

/// Prints the least time of each operator and what it computes in that time.
pub(crate) fn measure() -> Result<()> {
    let matrix = numbers(&[MATRIX, MATRIX])?;
    let product = fastest(|| Ok(matrix.matmul(&matrix)?))?;
    let operations = 2.0 * (MATRIX as f64).powi(3);
    println!(
        "matrix product {MATRIX} x {MATRIX} x {MATRIX}: {:.0} GFLOP/s",
        operations / product / 1e9
    );
    println!(
        "{:24} {:>20} {:>20} {:>20}",
        "least wall ms, GFLOP/s", "forward", "of input", "of weight"
    );
    LAYERS.iter().try_for_each(Layer::print)
}

impl Layer {
    fn print(&self) -> Result<()> {
        let conv = Conv2d {
            weight: numbers(&[self.outputs, self.inputs / self.groups, 3, 3])?,
            bias: None,
            stride: 1,
            padding: Padding::same(1),
            groups: self.groups,
        };
        let factor = if self.upsampled { 2 } else { 1 };
        let input = numbers(&[BATCH, self.inputs, self.size / factor, self.size / factor])?;
        let gradient = numbers(&[BATCH, self.outputs, self.size, self.size])?;
        let weight = &conv.weight;
        let times = if self.upsampled {
            [
                fastest(|| Ok(upsampled_conv2d::forward(&conv, weight, factor, &input)?))?,
                fastest(|| {
                    let shape = input.dims();
                    Ok(upsampled_conv2d::backward_input(
                        &conv, weight, factor, shape, &gradient,
                    )?)
                })?,
                fastest(|| {
                    Ok(upsampled_conv2d::backward_weight(
                        &conv, factor, &input, &gradient,
                    )?)
                })?,
            ]
        } else {
            [
                fastest(|| Ok(conv2d::forward(&conv, weight, &input)?))?,
                fastest(|| {
                    Ok(conv2d::backward_input(
                        &conv,
                        weight,
                        input.dims(),
                        &gradient,
                    )?)
                })?,
                fastest(|| Ok(conv2d::backward_weight(&conv, &input, &gradient)?))?,
            ]
        };
        print!("{:24}", self.name);
        for seconds in times {
            print!(
                " {:12.2} {:7.0}",
                1e3 * seconds,
                self.operations() / seconds / 1e9
            );
        }
        println!();
        Ok(())
    }

    /// Multiplications and additions that are carried out.
    fn operations(&self) -> f64 {
        // Behind an upsampling 9 taps are 4.
        let taps = if self.upsampled { 4 } else { 9 };
        let outputs = BATCH * self.outputs * self.size * self.size;
        2.0 * (outputs * self.inputs / self.groups * taps) as f64
    }
}

/// Least wall time of [`RUNS`] calls in seconds: other work on the machine only ever adds.
fn fastest<T>(mut work: impl FnMut() -> Result<T>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Moment::now();
        let result = work()?;
        best = best.min(start.elapsed().wall.as_secs_f64());
        drop(result);
    }
    Ok(best)
}

/// Numbers of both signs without a pattern.
fn numbers(shape: &[usize]) -> Result<Tensor> {
    let mut state = 1_u32;
    let values = (0..shape.iter().product::<usize>()).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    });
    Ok(Tensor::from_vec(
        values.collect::<Vec<_>>(),
        shape,
        &Device::Cpu,
    )?)
}
