//! What a pass gives and takes beside the network's input and output.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{block, conv, graph, norm, options, random};
use crate::dfq::golden::{assert_norm, flat};
use crate::graph::{NodeId, Op, Padding, ParameterName};
use crate::nn::Result;
use crate::nn::executor::{
    BatchStatistics, ChannelGradient, ExtraGradients, Gradients, Hooks, Wanted, backward, forward,
};
use crate::nn::values::values;

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
