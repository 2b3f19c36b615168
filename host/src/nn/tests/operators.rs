//! All operators but convolutions, and the loss.

use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{assert_close, block, check, graph, norm, nudged, options, random, scalar};
use crate::graph::{Linear, Op, Padding};
use crate::nn::cross_entropy;
use crate::nn::executor::{BatchStatistics, ExtraGradients, Wanted, backward, forward};
use crate::nn::values::values;

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

#[test]
fn gradients_of_several_consumers_add_up() {
    check(&block(), 3, BatchStatistics::Running, 10);
    check(&block(), 3, BatchStatistics::Batch, 11);
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
