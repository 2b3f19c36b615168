//! The composed operators against the tuned ones, on the CPU.

use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::dfq::golden::{assert_norm, flat};
use crate::graph::{Graph, Linear, Op, Padding, Placement, Precision};
use crate::nn::executor::{
    BatchStatistics, ExtraGradients, Forward, Gradients, Wanted, backward, forward,
};
use crate::nn::tests::{block, conv, convolutions, graph, norm, options, random};

const ALL: Wanted = Wanted {
    input: true,
    parameters: true,
};

fn composed(graph: &Graph, precision: Precision) -> Graph {
    let placement = Placement::composed(Device::Cpu, precision);
    graph.placed(&placement).unwrap()
}

fn passes(graph: &Graph, input: &Tensor, statistics: BatchStatistics) -> (Forward, Gradients) {
    let pass = forward(graph, input, options(statistics), &mut ()).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let cotangent = random(pass.output().dims(), &mut rng);
    let none = ExtraGradients::default();
    let gradients = backward(graph, &pass, &cotangent, ALL, &none).unwrap();
    (pass, gradients)
}

/// Holds values, moments and all gradients against those of the tuned operators.
fn assert_agreement(
    graph: &Graph,
    input: &Tensor,
    statistics: BatchStatistics,
    precision: Precision,
    tolerance: f64,
) {
    let (pass, gradients) = passes(&composed(graph, precision), input, statistics);
    let (tuned, expected) = passes(graph, input, statistics);
    let same = |what: &str, found: &Tensor, expected: &Tensor| {
        assert_eq!(found.dims(), expected.dims(), "{what}");
        assert_eq!(found.dtype(), DType::F32, "{what}");
        assert_norm(what, &flat(found), &flat(expected), tolerance);
    };
    same("output", pass.output(), tuned.output());
    let moments = pass.batch_moments().values();
    for (found, expected) in moments.zip(tuned.batch_moments().values()) {
        same("mean", &found.mean, &expected.mean);
        same("variance", &found.var, &expected.var);
    }
    same(
        "input's gradient",
        &gradients.input.unwrap(),
        &expected.input.unwrap(),
    );
    assert_eq!(gradients.parameters.len(), expected.parameters.len());
    for (key, expected) in &expected.parameters {
        same(&format!("{key:?}"), &gradients.parameters[key], expected);
    }
}

fn assert_single(graph: &Graph, batch: usize, statistics: BatchStatistics) {
    let [channels, height, width] = graph.input_shape;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let input = random(&[batch, channels, height, width], &mut rng);
    // Sums of some hundred products in another order.
    assert_agreement(graph, &input, statistics, Precision::Single, 3e-6);
}

#[test]
fn convolutions_agree() {
    for (conv, input_shape) in convolutions() {
        let network = graph(input_shape, vec![(Op::Conv2d(conv), vec![0])]);
        assert_single(&network, 3, BatchStatistics::Running);
    }
}

#[test]
fn strided_convolutions_agree_at_every_remainder() {
    for side in 5..9 {
        for stride in 2..4 {
            for groups in [1, 2, 4] {
                let layer = conv(
                    [4, 4 / groups, 3, 3],
                    stride,
                    Padding::same(1),
                    groups,
                    true,
                );
                let network = graph([4, side, side + 1], vec![(Op::Conv2d(layer), vec![0])]);
                assert_single(&network, 2, BatchStatistics::Running);
            }
        }
    }
}

#[test]
fn linear_layers_agree() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let linear = Linear {
        weight: random(&[5, 12], &mut rng),
        bias: Some(random(&[5], &mut rng)),
    };
    let ops = vec![
        (Op::Flatten, vec![0]),
        (Op::Linear(linear), vec![1]),
        (Op::BatchNorm(norm(5, true)), vec![2]),
        (Op::Reshape { shape: [5, 1, 1] }, vec![3]),
    ];
    for statistics in [BatchStatistics::Running, BatchStatistics::Batch] {
        assert_single(&graph([3, 2, 2], ops.clone()), 4, statistics);
    }
}

#[test]
fn batch_norms_agree() {
    for affine in [true, false] {
        for statistics in [BatchStatistics::Running, BatchStatistics::Batch] {
            let network = graph([3, 4, 5], vec![(Op::BatchNorm(norm(3, affine)), vec![0])]);
            assert_single(&network, 3, statistics);
        }
    }
}

#[test]
fn operators_without_parameters_agree() {
    let padding = Padding {
        top: 1,
        left: 0,
        bottom: 0,
        right: 1,
    };
    let pools = [
        ([2, 2], [2, 2]),
        ([3, 2], [2, 2]),
        ([2, 3], [1, 1]),
        ([3, 3], [2, 1]),
    ];
    let mut ops = vec![
        Op::Relu,
        Op::Relu6,
        Op::LeakyRelu { slope: 0.2 },
        Op::LeakyRelu { slope: 2.0 },
        Op::Tanh,
        Op::Upsample { factor: 2 },
        Op::Upsample { factor: 3 },
        Op::GlobalAveragePool,
        Op::Reshape { shape: [5, 3, 4] },
    ];
    for (window, stride) in pools {
        ops.push(Op::AveragePool { window, stride });
        for padding in [padding, Padding::default()] {
            ops.push(Op::MaxPool {
                window,
                stride,
                padding,
            });
        }
    }
    for (stride, front, back) in [(1, 0, 1), (2, 1, 2), (3, 2, 0)] {
        ops.push(Op::SubsamplePad {
            stride,
            front,
            back,
        });
    }
    // In steps of 1/64, so that windows have equals in them; times 16, so that some are above 6.
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let input = (random(&[4, 3, 5, 4], &mut rng) * 16.0).unwrap();
    for op in ops {
        let network = graph([3, 5, 4], vec![(op.clone(), vec![0])]);
        let running = BatchStatistics::Running;
        assert_agreement(&network, &input, running, Precision::Single, 3e-6);
    }
}

/// `max(x, 0)` at 0 and beyond 6 has a gradient by convention.
#[test]
fn kinks_agree() {
    let input = Tensor::new(&[[[[-1f32, 0.0, -0.0, 3.0, 6.0, 7.0]]]], &Device::Cpu).unwrap();
    for op in [Op::Relu, Op::Relu6, Op::LeakyRelu { slope: 0.2 }] {
        let network = graph([1, 1, 6], vec![(op, vec![0])]);
        let found = passes(
            &composed(&network, Precision::Single),
            &input,
            BatchStatistics::Running,
        );
        let expected = passes(&network, &input, BatchStatistics::Running);
        assert_eq!(flat(found.0.output()), flat(expected.0.output()));
        assert_norm(
            "gradient",
            &flat(&found.1.input.unwrap()),
            &flat(&expected.1.input.unwrap()),
            1e-7,
        );
    }
}

#[test]
fn blocks_agree() {
    for statistics in [BatchStatistics::Running, BatchStatistics::Batch] {
        assert_single(&block(), 3, statistics);
    }
}

/// A number of `bf16` has 8 significant bits.
#[test]
fn reduced_precision_is_close() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let input = random(&[3, 3, 6, 6], &mut rng);
    let running = BatchStatistics::Running;
    assert_agreement(&block(), &input, running, Precision::BFloat16, 2e-2);
}

#[test]
fn errors_name_what_does_not_fit() {
    let layer = conv([4, 3, 3, 3], 1, Padding::same(1), 1, false);
    let cases = [
        (Op::Conv2d(layer), "3 channels"),
        (Op::BatchNorm(norm(3, true)), "3 channels"),
        (
            Op::MaxPool {
                window: [5, 5],
                stride: [1, 1],
                padding: Padding::default(),
            },
            "[5, 5] pixels",
        ),
    ];
    for (op, expected) in cases {
        let network = graph([2, 4, 4], vec![(op, vec![0])]);
        let network = composed(&network, Precision::Single);
        let input = random(&[1, 2, 4, 4], &mut ChaCha8Rng::seed_from_u64(1));
        let running = options(BatchStatistics::Running);
        let message = forward(&network, &input, running, &mut ()).unwrap_err();
        let message = message.to_string();
        assert!(
            message.contains("node1") && message.contains(expected),
            "{message}"
        );
    }
}
