//! Every operator against plain loops and against finite differences.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::executor::{
    BatchStatistics, ChannelGradient, ExtraGradients, ForwardOptions, Gradients, Hooks, Wanted,
    backward, forward,
};
use super::values::values;
use super::{Result, cross_entropy};
use crate::dfq::golden::{Golden, assert_norm, flat};
use crate::dfq::quantizer;
use crate::graph::{
    BatchNorm, Conv2d, Graph, Linear, Node, NodeId, Normalization, Op, Padding, ParameterName,
    Placement,
};

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

/// Sums of products of these numbers are exact in single precision, in any order.
fn assert_plain_loops(batch: usize) {
    for (index, (conv, input_shape)) in convolutions().into_iter().enumerate() {
        let [channels, height, width] = input_shape;
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let input = random(&[batch, channels, height, width], &mut rng);
        let network = graph(input_shape, vec![(Op::Conv2d(conv.clone()), vec![0])]);
        let pass = forward(&network, &input, options(BatchStatistics::Running), &mut ()).unwrap();
        let &[_, outs, rows, columns] = pass.output().dims() else {
            panic!("no image")
        };
        let &[_, group_channels, kernel_rows, kernel_columns] = conv.weight.dims() else {
            panic!("no weight")
        };
        let (x, w) = (values(&input).unwrap(), values(&conv.weight).unwrap());
        for (position, found) in values(pass.output()).unwrap().iter().enumerate() {
            let (image, out) = (
                position / (outs * rows * columns),
                position / (rows * columns) % outs,
            );
            let (oy, ox) = (position / columns % rows, position % columns);
            let group = out / (outs / conv.groups);
            let mut expected = conv
                .bias
                .as_ref()
                .map_or(0.0, |bias| values(bias).unwrap()[out]);
            for tap in 0..group_channels * kernel_rows * kernel_columns {
                let (c, ky) = (
                    tap / (kernel_rows * kernel_columns),
                    tap / kernel_columns % kernel_rows,
                );
                let kx = tap % kernel_columns;
                let y = (oy * conv.stride + ky).wrapping_sub(conv.padding.top);
                let x_position = (ox * conv.stride + kx).wrapping_sub(conv.padding.left);
                if y < height && x_position < width {
                    let channel = image * channels + group * group_channels + c;
                    expected += x[(channel * height + y) * width + x_position]
                        * w[(out * group_channels + c) * kernel_rows * kernel_columns
                            + ky * kernel_columns
                            + kx];
                }
            }
            assert!(*found == expected, "case {index}: {found}, not {expected}");
        }
    }
}

#[test]
fn convolution_equals_plain_loops() {
    assert_plain_loops(2);
}

#[test]
fn convolution_of_more_samples_than_a_vector_holds_equals_plain_loops() {
    assert_plain_loops(19);
}

#[test]
fn convolution_gradients() {
    for (index, (conv, input_shape)) in convolutions().into_iter().enumerate() {
        let network = graph(input_shape, vec![(Op::Conv2d(conv), vec![0])]);
        check(&network, 6, BatchStatistics::Running, index as u64);
        check(&network, 19, BatchStatistics::Running, index as u64);
    }
}

#[test]
fn wide_convolution_gradients_use_whole_tiles() {
    let conv = conv([12, 8, 3, 3], 1, Padding::same(1), 1, true);
    check(
        &graph([8, 6, 7], vec![(Op::Conv2d(conv), vec![0])]),
        2,
        BatchStatistics::Running,
        3,
    );
}

/// An upsampling and a convolution of what it gives, with sizes on which each factor, kernel and
/// padding meets the edges of the image differently.
fn upsampled_convolutions() -> Vec<(usize, Conv2d, [usize; 3])> {
    let odd = Padding {
        top: 0,
        left: 1,
        bottom: 3,
        right: 0,
    };
    vec![
        (
            2,
            conv([5, 3, 3, 3], 1, Padding::same(1), 1, true),
            [3, 4, 3],
        ),
        (2, conv([4, 2, 3, 3], 1, odd, 2, true), [4, 3, 5]),
        (
            2,
            conv([3, 1, 5, 5], 1, Padding::same(2), 3, false),
            [3, 2, 4],
        ),
        (3, conv([2, 3, 3, 2], 1, odd, 1, true), [3, 2, 3]),
        (
            2,
            conv([9, 4, 1, 1], 1, Padding::same(0), 1, false),
            [4, 3, 3],
        ),
        (
            2,
            conv([2, 2, 4, 4], 1, Padding::same(0), 1, true),
            [2, 2, 2],
        ),
        (
            2,
            conv([6, 60, 3, 3], 1, Padding::same(1), 1, true),
            [60, 2, 11],
        ),
    ]
}

#[test]
fn upsampled_convolution_equals_upsampling_and_convolution() {
    let wanted = Wanted {
        input: true,
        parameters: true,
    };
    let weight = ParameterName::Weight;
    for (factor, conv, input_shape) in upsampled_convolutions() {
        let network = graph(
            input_shape,
            vec![
                (Op::Upsample { factor }, vec![0]),
                (Op::Conv2d(conv.clone()), vec![1]),
            ],
        );
        // Something else that reads the large image keeps the two apart.
        let mut apart = network.clone();
        apart.nodes.push(Node {
            name: "reader".into(),
            op: Op::Relu,
            inputs: vec![NodeId(1)],
        });
        apart.nodes.swap(2, 3);
        for batch in [2, 19] {
            let mut rng = ChaCha8Rng::seed_from_u64(9);
            let [channels, height, width] = input_shape;
            let input = random(&[batch, channels, height, width], &mut rng);
            let run = |graph: &Graph| {
                let options = options(BatchStatistics::Running);
                let pass = forward(graph, &input, options, &mut ()).unwrap();
                let cotangent = random(pass.output().dims(), &mut ChaCha8Rng::seed_from_u64(1));
                let extra = ExtraGradients::default();
                let gradients = backward(graph, &pass, &cotangent, wanted, &extra).unwrap();
                (pass, gradients)
            };
            let (pass, found) = run(&network);
            let (plain, expected) = run(&apart);
            assert_eq!(pass.value(NodeId(1)).unwrap().dims(), input.dims());
            assert!(plain.value(NodeId(1)).unwrap().elem_count() > input.elem_count());
            let of_weight = [
                &found.parameters[&(NodeId(2), weight)],
                &expected.parameters[&(NodeId(3), weight)],
            ];
            // Sums of products of these numbers are exact in single precision, in any order.
            assert_eq!(flat(pass.output()), flat(plain.output()), "{conv:?}");
            assert_eq!(flat(&found.input.unwrap()), flat(&expected.input.unwrap()));
            assert_eq!(flat(of_weight[0]), flat(of_weight[1]), "{conv:?}");
        }
    }
}

#[test]
fn upsampled_convolution_gradients() {
    for (index, (factor, conv, input_shape)) in upsampled_convolutions().into_iter().enumerate() {
        let ops = vec![
            (Op::Upsample { factor }, vec![0]),
            (Op::Conv2d(conv), vec![1]),
        ];
        check(
            &graph(input_shape, ops),
            3,
            BatchStatistics::Running,
            index as u64,
        );
    }
}

#[test]
fn linear_gradients() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let linear = Linear {
        weight: random(&[5, 12], &mut rng),
        bias: Some(random(&[5], &mut rng)),
    };
    let network = graph(
        [3, 2, 2],
        vec![(Op::Flatten, vec![0]), (Op::Linear(linear), vec![1])],
    );
    check(&network, 4, BatchStatistics::Running, 5);
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

#[test]
fn batch_norm_gradients() {
    for affine in [true, false] {
        for statistics in [BatchStatistics::Running, BatchStatistics::Batch] {
            let network = graph([3, 4, 5], vec![(Op::BatchNorm(norm(3, affine)), vec![0])]);
            check(&network, 3, statistics, 7);
        }
    }
}

#[test]
fn gradients_of_operators_without_parameters() {
    let padding = Padding {
        top: 1,
        left: 0,
        bottom: 0,
        right: 1,
    };
    let ops = [
        Op::Relu,
        Op::LeakyRelu { slope: 0.2 },
        Op::Tanh,
        Op::SubsamplePad {
            stride: 2,
            front: 1,
            back: 2,
        },
        Op::Upsample { factor: 2 },
        Op::Upsample { factor: 3 },
        Op::AveragePool {
            window: [2, 3],
            stride: [2, 1],
        },
        Op::GlobalAveragePool,
        Op::Reshape { shape: [5, 2, 6] },
    ];
    for op in ops {
        check(
            &graph([3, 5, 4], vec![(op, vec![0])]),
            2,
            BatchStatistics::Running,
            8,
        );
    }
    // Distinct values, as a difference at a tie has no meaning.
    let op = Op::MaxPool {
        window: [3, 2],
        stride: [2, 2],
        padding,
    };
    let network = graph([1, 5, 4], vec![(op, vec![0])]);
    let input = Tensor::from_vec(
        (0..20)
            .map(|index| (index * 7 % 20) as f32)
            .collect::<Vec<_>>(),
        (1, 1, 5, 4),
        &Device::Cpu,
    );
    let pass = forward(
        &network,
        &input.unwrap(),
        options(BatchStatistics::Running),
        &mut (),
    )
    .unwrap();
    assert_eq!(*values(pass.output()).unwrap(), [15.0, 14.0, 16.0, 18.0]);
    let ones = pass.output().ones_like().unwrap();
    let wanted = Wanted {
        input: true,
        parameters: false,
    };
    let found = backward(&network, &pass, &ones, wanted, &ExtraGradients::default())
        .unwrap()
        .input
        .unwrap();
    let chosen = values(&found)
        .unwrap()
        .iter()
        .filter(|value| **value == 1.0)
        .count();
    assert_eq!((chosen, scalar(&found, &found)), (4, 4.0));
}

#[test]
fn relu6_is_flat_above_six() {
    let input = Tensor::new(&[[[[-1f32, 0.0, 3.0, 6.0, 7.0]]]], &Device::Cpu).unwrap();
    let network = graph([1, 1, 5], vec![(Op::Relu6, vec![0])]);
    let pass = forward(&network, &input, options(BatchStatistics::Running), &mut ()).unwrap();
    assert_eq!(*values(pass.output()).unwrap(), [0.0, 0.0, 3.0, 6.0, 6.0]);
    let ones = input.ones_like().unwrap();
    let wanted = Wanted {
        input: true,
        parameters: false,
    };
    let found = backward(&network, &pass, &ones, wanted, &ExtraGradients::default())
        .unwrap()
        .input
        .unwrap();
    assert_eq!(*values(&found).unwrap(), [0.0, 0.0, 1.0, 0.0, 0.0]);
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

#[test]
fn gradients_of_several_consumers_add_up() {
    check(&block(), 3, BatchStatistics::Running, 10);
    check(&block(), 3, BatchStatistics::Batch, 11);
}

#[test]
fn extra_gradient_is_added_at_the_input_of_its_layer() {
    let network = graph(
        [2, 3, 3],
        vec![
            (
                Op::Conv2d(conv([2, 2, 1, 1], 1, Padding::same(0), 1, false)),
                vec![0],
            ),
            (Op::BatchNorm(norm(2, true)), vec![1]),
        ],
    );
    let input = random(&[2, 2, 3, 3], &mut ChaCha8Rng::seed_from_u64(12));
    let pass = forward(&network, &input, options(BatchStatistics::Running), &mut ()).unwrap();
    let zeros = pass.output().zeros_like().unwrap();
    let extra = ChannelGradient {
        offset: Tensor::new(&[0.5f32, -1.0], &Device::Cpu).unwrap(),
        slope: Tensor::new(&[2.0f32, 0.25], &Device::Cpu).unwrap(),
    };
    let wanted = Wanted {
        input: true,
        parameters: true,
    };
    let found = backward(
        &network,
        &pass,
        &zeros,
        wanted,
        &ExtraGradients {
            batch_norm_inputs: BTreeMap::from([(NodeId(2), extra)]),
            ..ExtraGradients::default()
        },
    )
    .unwrap();
    // The same as the convolution's gradient for `offset + slope * x` as cotangent.
    let x = values(pass.value(NodeId(1)).unwrap()).unwrap().to_vec();
    let cotangent = x.iter().enumerate().map(|(index, x)| {
        if index / 9 % 2 == 0 {
            0.5 + 2.0 * x
        } else {
            -1.0 + 0.25 * x
        }
    });
    let cotangent = Tensor::from_vec(cotangent.collect::<Vec<_>>(), (2, 2, 3, 3), &Device::Cpu);
    let mut alone = network.clone();
    alone.nodes.truncate(2);
    let pass = forward(&alone, &input, options(BatchStatistics::Running), &mut ()).unwrap();
    let expected = backward(
        &alone,
        &pass,
        &cotangent.unwrap(),
        wanted,
        &ExtraGradients::default(),
    )
    .unwrap();
    let key = (NodeId(1), ParameterName::Weight);
    for (found, expected) in [
        (found.input.as_ref(), expected.input.as_ref()),
        (found.parameters.get(&key), expected.parameters.get(&key)),
    ] {
        let (found, expected) = (
            values(found.unwrap()).unwrap(),
            values(expected.unwrap()).unwrap(),
        );
        for (found, expected) in found.iter().zip(expected.iter()) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }
}

/// The gradients at the input and the first weight for `sum(output * r) + sum(value * s)`, where
/// `value` is that of a node within the network, are those of two passes added up.
#[test]
fn extra_gradient_is_added_at_the_output_of_its_node() {
    let network = block();
    let [channels, height, width] = network.input_shape;
    let mut random_numbers = ChaCha8Rng::seed_from_u64(13);
    let input = random(&[2, channels, height, width], &mut random_numbers);
    let pass = forward(&network, &input, options(BatchStatistics::Running), &mut ()).unwrap();
    let wanted = Wanted {
        input: true,
        parameters: true,
    };
    let of_output = random(pass.output().dims(), &mut random_numbers);
    let inner = NodeId(3);
    let of_inner = random(pass.value(inner).unwrap().dims(), &mut random_numbers);
    let outputs = BTreeMap::from([(inner, of_inner.clone())]);
    let extra = ExtraGradients {
        outputs,
        ..ExtraGradients::default()
    };
    let none = ExtraGradients::default();
    let found = backward(&network, &pass, &of_output, wanted, &extra).unwrap();

    let of_output = backward(&network, &pass, &of_output, wanted, &none).unwrap();
    let mut front = network.clone();
    front.nodes.truncate(inner.0 + 1);
    let pass = forward(&front, &input, options(BatchStatistics::Running), &mut ()).unwrap();
    let of_inner = backward(&front, &pass, &of_inner, wanted, &none).unwrap();
    let key = (NodeId(1), ParameterName::Weight);
    let gradients = |found: &Gradients| [found.input.clone(), found.parameters.get(&key).cloned()];
    let parts = gradients(&of_output).into_iter().zip(gradients(&of_inner));
    for (found, (a, b)) in gradients(&found).into_iter().zip(parts) {
        let expected = (a.unwrap() + b.unwrap()).unwrap();
        assert_norm("gradient", &flat(&found.unwrap()), &flat(&expected), 1e-6);
    }
}

#[test]
fn extra_gradient_of_another_shape_is_refused_by_name() {
    let network = block();
    let [channels, height, width] = network.input_shape;
    let input = random(
        &[1, channels, height, width],
        &mut ChaCha8Rng::seed_from_u64(14),
    );
    let pass = forward(&network, &input, options(BatchStatistics::Running), &mut ()).unwrap();
    let wrong = random(&[1, 1], &mut ChaCha8Rng::seed_from_u64(15));
    let extra = ExtraGradients {
        outputs: BTreeMap::from([(NodeId(1), wrong)]),
        ..ExtraGradients::default()
    };
    let wanted = Wanted {
        input: true,
        parameters: false,
    };
    let error = backward(&network, &pass, pass.output(), wanted, &extra).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(&network.nodes[1].name), "{message}");
    assert!(message.contains("extra gradient"), "{message}");
}

/// Replaces weights and one output, as fake quantization does.
struct Doubling;

impl Hooks for Doubling {
    fn weight(&mut self, _node: NodeId, weight: &Tensor) -> Result<Tensor> {
        Ok((weight * 2.0)?)
    }

    fn output(&mut self, node: NodeId, value: Tensor) -> Result<Tensor> {
        Ok(if node.0 == 1 { (value - 100.0)? } else { value })
    }
}

#[test]
fn hooks_change_the_forward_pass_and_are_straight_through_backwards() {
    let layer = conv([1, 1, 1, 1], 1, Padding::same(0), 1, false);
    let weight = values(&layer.weight).unwrap()[0];
    let network = graph(
        [1, 1, 2],
        vec![(Op::Relu, vec![0]), (Op::Conv2d(layer), vec![1])],
    );
    let input = Tensor::new(&[[[[3f32, -1.0]]]], &Device::Cpu).unwrap();
    let pass = forward(
        &network,
        &input,
        options(BatchStatistics::Running),
        &mut Doubling,
    )
    .unwrap();
    let expected = [(3.0 - 100.0) * 2.0 * weight, -100.0 * 2.0 * weight];
    assert_eq!(*values(pass.output()).unwrap(), expected);
    let ones = pass.output().ones_like().unwrap();
    let wanted = Wanted {
        input: true,
        parameters: true,
    };
    let found = backward(&network, &pass, &ones, wanted, &ExtraGradients::default()).unwrap();
    // The mask is that of the value before the hook, the weight is the one that was used.
    assert_eq!(*values(&found.input.unwrap()).unwrap(), [2.0 * weight, 0.0]);
    let gradient = &found.parameters[&(NodeId(2), ParameterName::Weight)];
    assert_eq!(*values(gradient).unwrap(), [-97.0 - 100.0]);
}

#[test]
fn moments_are_those_of_the_batch() {
    let network = graph([1, 1, 2], vec![(Op::BatchNorm(norm(1, true)), vec![0])]);
    let input = Tensor::new(&[[[[1f32, 2.0]]], [[[3.0, 6.0]]]], &Device::Cpu).unwrap();
    let pass = forward(&network, &input, options(BatchStatistics::Running), &mut ()).unwrap();
    let found = &pass.batch_norm_inputs().unwrap()[0];
    assert_eq!((found.mean[0], found.var[0]), (3.0, 3.5));
}

#[test]
fn cross_entropy_and_its_gradient() {
    let logits = Tensor::new(&[[1f32, 2.0, 0.5], [0.0, 0.0, 0.0]], &Device::Cpu).unwrap();
    let (loss, gradient) = cross_entropy(&logits, &[1, 2]).unwrap();
    let numeric = |index: usize| {
        let at = |step: f32| {
            cross_entropy(&nudged(&logits, index, step), &[1, 2])
                .unwrap()
                .0
        };
        (at(0.01) - at(-0.01)) / 0.02
    };
    assert!((loss - (0.464_37 + 3f64.ln()) / 2.0).abs() < 1e-4, "{loss}");
    for (index, value) in values(&gradient).unwrap().iter().enumerate() {
        assert_close(*value, numeric(index), 1.0, "logit");
    }
    assert!(cross_entropy(&logits, &[1, 3]).is_err());
}

#[test]
fn errors_name_the_node() {
    let layer = conv([4, 3, 3, 3], 1, Padding::same(1), 1, false);
    let network = graph([2, 4, 4], vec![(Op::Conv2d(layer), vec![0])]);
    let input = random(&[1, 2, 4, 4], &mut ChaCha8Rng::seed_from_u64(1));
    let error = forward(&network, &input, options(BatchStatistics::Running), &mut ()).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("node1") && message.contains("3 channels"),
        "{message}"
    );
}

/// Uses weights of 3, 4 or 8 bits in place of the float ones.
struct QuantizedWeights(u8);

impl Hooks for QuantizedWeights {
    fn weight(&mut self, _node: NodeId, weight: &Tensor) -> Result<Tensor> {
        Ok(quantizer::fake_quantize_weight(weight, self.0, None).unwrap())
    }
}

/// Section `weight_quant` of the reference figures: layers with quantized weights.
#[test]
fn quantized_layers_and_their_gradients_equal_the_reference() {
    let Some(golden) = Golden::open("weight_quant") else {
        return;
    };
    for bits in [3, 4, 8] {
        for stride in [1, 2] {
            let key = format!("fwd_conv_s{stride}.b{bits}");
            let conv = Conv2d {
                weight: golden.tensor(&format!("{key}.w")),
                bias: None,
                stride,
                padding: Padding::same(1),
                groups: 1,
            };
            let network = graph([4, 9, 9], vec![(Op::Conv2d(conv), vec![0])]);
            assert_reference(&golden, &key, &network, bits);
        }
        let key = format!("fwd_linear.b{bits}");
        let linear = Linear {
            weight: golden.tensor(&format!("{key}.w")),
            bias: Some(golden.tensor(&format!("{key}.bias"))),
        };
        let network = graph([64, 1, 1], vec![(Op::Linear(linear), vec![0])]);
        assert_reference(&golden, &key, &network, bits);
    }
}

/// Two orders of adding some hundred products in single precision differ by less than 1e-6 of the
/// norm.
fn assert_reference(golden: &Golden, key: &str, network: &Graph, bits: u8) {
    let tensor = |name: &str| golden.tensor(&format!("{key}.{name}"));
    let running = options(BatchStatistics::Running);
    let pass = forward(network, &tensor("x"), running, &mut QuantizedWeights(bits)).unwrap();
    let wanted = Wanted {
        input: true,
        parameters: true,
    };
    let found = backward(
        network,
        &pass,
        &tensor("r"),
        wanted,
        &ExtraGradients::default(),
    )
    .unwrap();
    let parameters = &found.parameters;
    let pairs = [
        ("y", Some(pass.output())),
        ("grad_x", found.input.as_ref()),
        (
            "grad_w",
            parameters.get(&(NodeId(1), ParameterName::Weight)),
        ),
        (
            "grad_bias",
            parameters.get(&(NodeId(1), ParameterName::Bias)),
        ),
    ];
    for (name, found) in pairs {
        if let Some(found) = found {
            let what = format!("{key}.{name}");
            assert_norm(
                &what,
                &flat(found),
                &golden.f64(&format!("{what}.f64")),
                1e-6,
            );
        }
    }
}
