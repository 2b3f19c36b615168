//! Held against the same rules on slices and against the reference figures, on the CPU.

use candle_core::{Device, Tensor};

use super::*;
use crate::{
    dfq::{
        golden::{Golden, assert_close, assert_norm, flat},
        optimizer::{Adam, Nesterov},
        quantizer::{self, LinearQuantizer},
        random::Random,
        statistics::{self, LayerStatistics},
    },
    graph::{ActivationRange, BatchNorm, NodeId, Placement, Precision},
    nn::{executor::Hooks, ops::batch_norm},
};

fn placement() -> Placement {
    Placement::composed(Device::Cpu, Precision::Single)
}

#[test]
fn weights_are_quantized_as_on_slices() {
    let mut random = Random::new(3, 0);
    let weight = random.normal((7, 5, 3, 3)).unwrap();
    let ranges = Tensor::new(&[[-0.5_f32, 0.25]; 7], &Device::Cpu).unwrap();
    for bits in 2..=8 {
        for ranges in [None, Some(&ranges)] {
            let found = fake_quantize_weight(&weight, bits, ranges).unwrap();
            let expected = quantizer::fake_quantize_weight(&weight, bits, ranges).unwrap();
            assert_eq!(found.dims(), weight.dims());
            assert_eq!(flat(&found), flat(&expected), "{bits} bits");
        }
    }
    assert!(fake_quantize_weight(&weight, 9, None).is_err());
}

#[test]
fn weights_match_golden() {
    let Some(golden) = Golden::open("weight_quant") else {
        return;
    };
    for case in [
        "conv3",
        "conv1",
        "linear",
        "edge_linear",
        "edge_conv",
        "tie",
    ] {
        for bits in [2, 3, 4, 5, 6, 8] {
            let key = |part: &str| format!("{case}.b{bits}.{part}");
            let name = if case == "tie" {
                key("w")
            } else {
                format!("{case}.w")
            };
            let found = fake_quantize_weight(&golden.tensor(&name), bits, None).unwrap();
            let expected = golden.f32(&key("deq"));
            assert_close(&key("deq"), &flat(&found), &expected, 1e-7, 1e-6);
        }
    }
}

#[test]
fn activations_are_quantized_as_on_slices() {
    let mut values = flat(&Random::new(4, 0).normal(1000).unwrap());
    // Ties of a range whose codes are 1/8 apart, and what no code reaches.
    values.extend((-40..40).map(|tie| tie as f32 / 16.0));
    values.extend([-1e9, 1e9, -5e6, 5e6, 0.0]);
    let count = values.len();
    let input = Tensor::from_vec(values.clone(), (1, 1, 1, count), &Device::Cpu).unwrap();
    for bits in 2..=8 {
        let steps = f32::from((1_u16 << bits) - 1);
        for (min, max) in [(0.0, steps / 8.0), (-0.5, 1.1)] {
            let quantizer = LinearQuantizer::new(&ActivationRange { bits, min, max }).unwrap();
            let quantizers = [None, Some(quantizer)];
            let mut hook = FrozenActivations::new(&quantizers, &Device::Cpu).unwrap();
            let found = hook.output(NodeId(1), input.clone()).unwrap();
            assert_eq!(
                flat(&found),
                quantizer.fake_quantized(&values),
                "{bits} bits"
            );
            let untouched = hook.output(NodeId(0), input.clone()).unwrap();
            assert_eq!(flat(&untouched), values);
        }
    }
}

#[test]
fn optimizers_match_golden() {
    let Some(golden) = Golden::open("optim") else {
        return;
    };
    let gradients = golden.tensor("grads");
    let start = golden.tensor("p0");
    type Step<'a> = Box<dyn FnMut(&mut [&mut Tensor], &[&Tensor]) + 'a>;
    let mut adam = Adam::new(1e-3, [14, 21]).placed(&placement()).unwrap();
    let nesterov = Nesterov::new(1e-2, 0.9, 1e-4);
    let mut nesterov = nesterov.placed(&placement()).unwrap();
    let steps: [(&str, Step<'_>); 2] = [
        ("adam", Box::new(|p, g| adam.step(p, g).unwrap())),
        ("sgd", Box::new(|p, g| nesterov.step(p, g).unwrap())),
    ];
    for (name, mut step) in steps {
        // Two parameters, so that joining and handing out take part.
        let (mut top, mut bottom) = split(&start);
        for index in 0..4 {
            let (of_top, of_bottom) = split(&gradients.get(index).unwrap());
            step(&mut [&mut top, &mut bottom], &[&of_top, &of_bottom]);
            let key = format!("{name}.p{}", index + 1);
            let found = [flat(&top), flat(&bottom)].concat();
            assert_close(&key, &found, &golden.f32(&key), 0.0, 1e-6);
        }
        assert_eq!(bottom.dims(), [3, 7]);
    }
}

/// The 35 numbers of the reference's parameter as one of 14 and one of 3 x 7.
fn split(tensor: &Tensor) -> (Tensor, Tensor) {
    let all = tensor.flatten_all().unwrap();
    let bottom = all.narrow(0, 14, 21).unwrap().reshape((3, 7)).unwrap();
    (all.narrow(0, 0, 14).unwrap(), bottom)
}

#[test]
fn optimizers_keep_their_moments_when_they_move() {
    let mut random = Random::new(5, 0);
    let start = random.normal((4, 3)).unwrap();
    let gradients = [(); 3].map(|()| random.normal((4, 3)).unwrap());
    let run = |move_after: usize| {
        let mut parameter = start.clone();
        let mut adam = Adam::new(1e-2, [12]);
        let mut nesterov = Nesterov::new(1e-2, 0.9, 1e-4);
        for (index, gradient) in gradients.iter().enumerate() {
            if index == move_after {
                adam = adam.placed(&placement()).unwrap();
                nesterov = nesterov.placed(&placement()).unwrap();
            }
            if index == move_after + 1 {
                adam = adam.placed(&Placement::default()).unwrap();
                nesterov = nesterov.placed(&Placement::default()).unwrap();
            }
            adam.step(&mut [&mut parameter], &[gradient]).unwrap();
            nesterov.step(&mut [&mut parameter], &[gradient]).unwrap();
        }
        flat(&parameter)
    };
    let stayed = run(usize::MAX - 1);
    for move_after in 0..3 {
        assert_close("parameter", &run(move_after), &stayed, 1e-6, 1e-5);
    }
}

#[test]
fn statistics_loss_is_that_on_slices() {
    let mut random = Random::new(6, 0);
    let sizes = [(3, [4, 3, 5, 5]), (5, [4, 5, 2, 2])];
    let layers = sizes.map(|(channels, shape)| {
        let norm = BatchNorm {
            weight: None,
            bias: None,
            running_mean: random.normal(channels).unwrap(),
            running_var: random.normal(channels).unwrap().sqr().unwrap(),
            eps: 1e-5,
        };
        let input = random.normal(&shape[..]).unwrap();
        let values = shape.iter().product::<usize>() / channels;
        (batch_norm::moments(&input, channels).unwrap(), norm, values)
    });
    let units = [1.0, 2.5];
    let on_device = [0, 1].map(|index| LayerMoments {
        batch: &layers[index].0,
        norm: &layers[index].1,
        values_per_channel: layers[index].2,
        unit: units[index],
    });
    let (loss, gradients) = batch_norm_loss(&on_device, 0.7).unwrap();

    let vectors = layers.each_ref().map(|(batch, norm, _)| {
        [
            &batch.mean,
            &batch.var,
            &norm.running_mean,
            &norm.running_var,
        ]
        .map(flat)
    });
    let on_slices = [0, 1].map(|index| {
        let [mean, var, running_mean, running_var] = &vectors[index];
        LayerStatistics {
            mean,
            var,
            running_mean,
            running_var,
            values_per_channel: layers[index].2,
            unit: units[index],
        }
    });
    let (expected, expected_gradients) = statistics::batch_norm_loss(&on_slices, 0.7).unwrap();
    assert_close("loss", &flat(&loss), &[expected], 0.0, 1e-6);
    for (found, expected) in gradients.iter().zip(&expected_gradients) {
        assert_norm(
            "offset",
            &flat(&found.offset),
            &flat(&expected.offset),
            1e-6,
        );
        assert_norm("slope", &flat(&found.slope), &flat(&expected.slope), 1e-6);
    }
}
