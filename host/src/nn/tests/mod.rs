//! Every operator against plain loops and against finite differences.

mod convolutions;
mod operators;
mod passes;
mod reference;

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::executor::{BatchStatistics, ExtraGradients, ForwardOptions, Wanted, backward, forward};
use super::values::values;
use crate::graph::{BatchNorm, Conv2d, Graph, Node, NodeId, Normalization, Op, Padding, Placement};

/// Values in steps of 1/64 away from 0, so that no step of a finite difference crosses a kink.
pub(super) fn random(shape: &[usize], rng: &mut ChaCha8Rng) -> Tensor {
    let count = shape.iter().product::<usize>();
    let values = (0..count)
        .map(|_| {
            let size = rng.random_range(4..64) as f32 / 64.0;
            if rng.random_bool(0.5) { size } else { -size }
        })
        .collect::<Vec<_>>();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn positive(shape: &[usize], rng: &mut ChaCha8Rng) -> Tensor {
    random(shape, rng).abs().unwrap()
}

pub(super) fn graph(input_shape: [usize; 3], ops: Vec<(Op, Vec<usize>)>) -> Graph {
    let input = Node {
        name: "input".into(),
        op: Op::Input,
        inputs: vec![],
    };
    let others = ops
        .into_iter()
        .enumerate()
        .map(|(index, (op, inputs))| Node {
            name: format!("node{}", index + 1),
            op,
            inputs: inputs.into_iter().map(NodeId).collect(),
        });
    Graph {
        name: "test".into(),
        input_shape,
        normalization: Normalization {
            mean: vec![],
            std: vec![],
        },
        classes: 1,
        nodes: std::iter::once(input).chain(others).collect(),
        placement: Placement::default(),
    }
}

pub(super) fn options(batch_statistics: BatchStatistics) -> ForwardOptions {
    ForwardOptions {
        batch_statistics,
        keep_for_backward: true,
        record_batch_norm_inputs: true,
    }
}

fn scalar(output: &Tensor, cotangent: &Tensor) -> f64 {
    let (y, r) = (values(output).unwrap(), values(cotangent).unwrap());
    y.iter()
        .zip(r.iter())
        .map(|(y, r)| f64::from(*y) * f64::from(*r))
        .sum()
}

fn nudged(tensor: &Tensor, index: usize, step: f32) -> Tensor {
    let mut values = values(tensor).unwrap().to_vec();
    values[index] += step;
    Tensor::from_vec(values, tensor.dims(), &Device::Cpu).unwrap()
}

/// Central differences of step 1/128 have an error of the order of the third derivative times
/// 1e-5, and single precision adds about 1e-5 of the sum: 2 parts in 1000 leave room for both and
/// none for a wrong term.
fn assert_close(analytic: f32, numeric: f64, scale: f64, what: &str) {
    let error = (f64::from(analytic) - numeric).abs();
    assert!(
        error <= 2e-3 * scale.max(1.0),
        "{what}: {analytic} but {numeric} by differences"
    );
}

/// Checks all gradients of `graph` at a random input of `batch` images.
fn check(graph: &Graph, batch: usize, statistics: BatchStatistics, seed: u64) {
    const STEP: f32 = 1.0 / 128.0;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let [channels, height, width] = graph.input_shape;
    let input = random(&[batch, channels, height, width], &mut rng);
    let pass = forward(graph, &input, options(statistics), &mut ()).unwrap();
    let cotangent = random(pass.output().dims(), &mut rng);
    let wanted = Wanted {
        input: true,
        parameters: true,
    };
    let found = backward(graph, &pass, &cotangent, wanted, &ExtraGradients::default()).unwrap();
    let loss = |graph: &Graph, input: &Tensor| {
        scalar(
            forward(graph, input, options(statistics), &mut ())
                .unwrap()
                .output(),
            &cotangent,
        )
    };
    let difference = |plus: f64, minus: f64| (plus - minus) / f64::from(2.0 * STEP);
    let scale = |gradient: &[f32]| {
        gradient
            .iter()
            .fold(0f64, |largest, value| largest.max(f64::from(value.abs())))
    };

    let gradient = found.input.unwrap();
    let gradient = values(&gradient).unwrap();
    for index in (0..gradient.len()).step_by(gradient.len() / 40 + 1) {
        let plus = loss(graph, &nudged(&input, index, STEP));
        let minus = loss(graph, &nudged(&input, index, -STEP));
        let numeric = difference(plus, minus);
        assert_close(
            gradient[index],
            numeric,
            scale(&gradient),
            &format!("input {index}"),
        );
    }
    assert_eq!(found.parameters.len(), graph.parameters().len());
    for (position, (key, parameter)) in graph.parameters().into_iter().enumerate() {
        let gradient = values(&found.parameters[&key]).unwrap();
        for index in (0..gradient.len()).step_by(gradient.len() / 40 + 1) {
            let moved = |step: f32| {
                let mut graph = graph.clone();
                *graph.parameters_mut()[position].1 = nudged(parameter, index, step);
                loss(&graph, &input)
            };
            let numeric = difference(moved(STEP), moved(-STEP));
            assert_close(
                gradient[index],
                numeric,
                scale(&gradient),
                &format!("{key:?} {index}"),
            );
        }
    }
}

pub(super) fn conv(
    shape: [usize; 4],
    stride: usize,
    padding: Padding,
    groups: usize,
    bias: bool,
) -> Conv2d {
    let mut rng = ChaCha8Rng::seed_from_u64(shape.iter().sum::<usize>() as u64);
    Conv2d {
        weight: random(&shape, &mut rng),
        bias: bias.then(|| random(&shape[..1], &mut rng)),
        stride,
        padding,
        groups,
    }
}

/// Convolutions of every kind with the input they take.
pub(super) fn convolutions() -> Vec<(Conv2d, [usize; 3])> {
    let odd = Padding {
        top: 0,
        left: 1,
        bottom: 2,
        right: 0,
    };
    vec![
        (conv([5, 3, 3, 3], 1, Padding::same(1), 1, true), [3, 7, 6]),
        (conv([4, 4, 3, 3], 2, Padding::same(1), 1, false), [4, 8, 8]),
        (conv([4, 2, 3, 3], 2, odd, 2, true), [4, 9, 7]),
        (conv([6, 1, 3, 3], 1, Padding::same(1), 6, false), [6, 5, 5]),
        (conv([5, 1, 3, 3], 2, odd, 5, true), [5, 8, 21]),
        (conv([3, 1, 3, 3], 3, Padding::same(1), 3, true), [3, 7, 50]),
        (conv([3, 1, 3, 3], 1, odd, 3, true), [3, 4, 33]),
        (conv([3, 1, 3, 3], 1, Padding::same(3), 3, false), [3, 2, 1]),
        (conv([9, 4, 1, 1], 1, Padding::same(0), 1, false), [4, 5, 9]),
        (conv([3, 4, 1, 1], 2, Padding::same(0), 1, false), [4, 6, 5]),
        (conv([2, 3, 5, 1], 3, Padding::same(2), 1, true), [3, 4, 4]),
        (conv([2, 3, 3, 3], 1, Padding::same(3), 1, true), [3, 1, 1]),
        // More channels than one pass over the output takes, and a row of more than 16 pixels.
        (
            conv([6, 60, 3, 3], 1, Padding::same(1), 1, true),
            [60, 3, 21],
        ),
    ]
}

pub(super) fn norm(channels: usize, affine: bool) -> BatchNorm {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    BatchNorm {
        weight: affine.then(|| random(&[channels], &mut rng)),
        bias: affine.then(|| random(&[channels], &mut rng)),
        running_mean: random(&[channels], &mut rng),
        running_var: positive(&[channels], &mut rng),
        eps: 1e-5,
    }
}

/// A residual block with a projection: values with two consumers, all parameters at once.
pub(super) fn block() -> Graph {
    graph(
        [3, 6, 6],
        vec![
            (
                Op::Conv2d(conv([4, 3, 3, 3], 2, Padding::same(1), 1, false)),
                vec![0],
            ),
            (Op::BatchNorm(norm(4, true)), vec![1]),
            (Op::Tanh, vec![2]),
            (
                Op::Conv2d(conv([4, 4, 3, 3], 1, Padding::same(1), 1, true)),
                vec![3],
            ),
            (
                Op::Conv2d(conv([4, 3, 1, 1], 2, Padding::same(0), 1, false)),
                vec![0],
            ),
            (Op::Add, vec![4, 5]),
            (Op::Add, vec![6, 3]),
            (Op::GlobalAveragePool, vec![7]),
        ],
    )
}
