//! The refinement against finite differences, and whether it learns.

use candle_core::{Device, Tensor};

use super::*;
use crate::{
    dfq::{
        config::{Bits, Widths},
        fake_quantized::FakeQuantized,
        golden::flat,
    },
    graph::{Normalization, Op},
    zoo::{self, RandomParameters},
};

const BITS: Bits = Bits {
    weights: 3,
    activations: 3,
};

fn teacher() -> Graph {
    let normalization = Normalization {
        mean: vec![0.4, 0.5, 0.6],
        std: vec![0.2, 0.25, 0.3],
    };
    let network = zoo::network("resnet8").unwrap();
    network
        .build(&mut RandomParameters::new(5), 10, normalization)
        .unwrap()
}

fn images(count: usize) -> Tensor {
    Random::new(3, 0).normal((count, 3, 32, 32)).unwrap()
}

fn refinement(settings: Settings) -> Refinement {
    let random = Random::new(1, 0);
    let mut pool = ImagePool::default();
    pool.offer(&images(8), 8, 0, 1).unwrap();
    let widths = Widths::from(BITS).of(&teacher()).unwrap();
    Refinement::new(&teacher(), widths, settings, pool, random).unwrap()
}

#[test]
fn blocks_are_compared_behind_their_sums() {
    let graph = teacher();
    let sites = alignment::sites(&graph);
    assert_eq!(sites.len(), 3);
    for site in sites {
        assert!(matches!(graph.nodes[site.0].op, Op::Relu));
        let read = graph.nodes[site.0].inputs[0];
        assert!(matches!(graph.nodes[read.0].op, Op::Add));
    }
}

/// Errors of the logits and of all weights of a student with and without fitted ranges.
#[test]
fn fitted_ranges_start_closer_to_the_teacher() {
    let graph = teacher();
    let error = |fitted_ranges| {
        let start = refinement(Settings {
            fitted_ranges,
            ..Settings::default()
        });
        let p = executor::forward(&graph, &images(8), KEEP, &mut ()).unwrap();
        let q = start.student.forward(&images(8), None).unwrap();
        let sites = alignment::sites(&graph);
        alignment::loss(&sites, &p, &q, 1.0).unwrap().0
    };
    let (fitted, ends) = (error(true), error(false));
    assert!(fitted < 0.8 * ends, "{fitted} and {ends}");
}

#[test]
fn losses_fall_and_all_that_is_learned_moves() {
    let settings = Settings {
        batch: 8,
        ..Settings::default()
    };
    let graph = teacher();
    let mut refinement = refinement(settings);
    let start = refinement.clone();
    let losses: Vec<f64> = (0..8)
        .map(|done| refinement.step(&graph, done, 8).unwrap())
        .collect();
    assert!(losses[7] < 0.9 * losses[0], "{losses:?}");
    let parameters = |refinement: &Refinement| {
        let parameters = refinement.student.trained.parameters().into_iter();
        parameters
            .map(|(_, tensor)| flat(tensor))
            .collect::<Vec<_>>()
    };
    let steps = |refinement: &Refinement| {
        let student = &refinement.student;
        let weights = student.weight_ranges.values();
        let all = weights.chain(student.activation_ranges.values());
        all.map(|ranges| flat(&ranges.log_step)).collect::<Vec<_>>()
    };
    for (old, new) in parameters(&start).iter().zip(&parameters(&refinement)) {
        assert_ne!(old, new);
    }
    for (old, new) in steps(&start).iter().zip(&steps(&refinement)) {
        assert_ne!(old, new);
    }
}

#[test]
fn switched_off_parts_stay_as_they_were() {
    let settings = Settings {
        weight_range_learning_rate: 0.0,
        activation_range_learning_rate: 0.0,
        ..Settings::default()
    };
    let mut refinement = refinement(settings);
    let before = refinement.quantized_graph().unwrap();
    refinement.step(&teacher(), 0, 2).unwrap();
    let after = refinement.quantized_graph().unwrap();
    assert_eq!(before.activations, after.activations);
    for (node, ranges) in &before.weight_ranges {
        assert_eq!(flat(ranges), flat(&after.weight_ranges[node]));
    }
}

#[test]
fn the_network_it_gives_computes_what_was_trained() {
    let mut refinement = refinement(Settings::default());
    refinement.step(&teacher(), 0, 2).unwrap();
    let network = FakeQuantized::new(&refinement.quantized_graph().unwrap()).unwrap();
    let images = images(2);
    assert_eq!(
        flat(refinement.student.forward(&images, None).unwrap().output()),
        flat(network.forward(&images).unwrap().output())
    );
}

#[test]
fn what_is_left_unquantized_is_what_the_teacher_computes() {
    let settings = Settings {
        dropped: 0.5,
        ..Settings::default()
    };
    let mut refinement = refinement(settings);
    let student = &refinement.student;
    let forward = |share| {
        let dropped = Some(Dropped::new(share, 7));
        flat(student.forward(&images(2), dropped).unwrap().output())
    };
    let graph = student.quantized.graph();
    let float = executor::forward(graph, &images(2), KEEP, &mut ()).unwrap();
    assert_eq!(forward(1.0), flat(float.output()));
    let quantized = student.forward(&images(2), None).unwrap();
    assert_eq!(forward(0.0), flat(quantized.output()));
    let before = refinement.quantized_graph().unwrap();
    refinement.step(&teacher(), 0, 2).unwrap();
    assert_ne!(
        before.activations,
        refinement.quantized_graph().unwrap().activations
    );
}

/// The last quantizer as in the test below: an element that was left out hands on its gradient as
/// it is, also where the range would have clipped it, and does not move the step.
#[test]
fn elements_left_unquantized_move_no_step() {
    let refinement = refinement(Settings::default());
    let student = &refinement.student;
    let all = Some(Dropped::new(1.0, 7));
    let forward = student.forward(&images(2), all).unwrap();
    let gradient = NetworkGradient::of_logits(vec![1.0; 20]);
    let found = student.gradients(&forward, &gradient, all).unwrap();
    for steps in found.activation_steps {
        assert!(flat(&steps).iter().all(|&step| step == 0.0));
    }
    let half = Some(Dropped::new(0.5, 7));
    let forward = student.forward(&images(2), half).unwrap();
    let found = student.gradients(&forward, &gradient, half).unwrap();
    let last = found.activation_steps.last().unwrap();
    assert_ne!(flat(last), [0.0]);
}

/// With the rounding of every value held fixed, what the quantizers compute is a smooth function of
/// the activation steps, whose slope is the gradient that is learned from. Only the last quantizer
/// is moved: behind it comes nothing but the pool and the linear layer, so that the logits follow
/// in closed form.
#[test]
fn gradient_of_the_last_activation_step_is_that_of_finite_differences() {
    let refinement = refinement(Settings::default());
    let student = &refinement.student;
    let forward = student.forward(&images(2), None).unwrap();
    let (&last, ranges) = student.activation_ranges.last_key_value().unwrap();
    let cotangent: Vec<f64> = (0..20).map(|i| f64::from(i % 7) - 3.0).collect();
    let gradient = NetworkGradient::of_logits(cotangent.clone());
    let found = student.gradients(&forward, &gradient, None).unwrap();
    let found = flat(found.activation_steps.last().unwrap())[0];

    let network = student.quantized_graph().unwrap();
    let read = network.graph.nodes[last.0].inputs[0];
    let values = flat(forward.value(read).unwrap());
    let step = flat(&ranges.log_step)[0].exp();
    let value = |x: f32, moved: f32| {
        let v = (x.max(0.0) / step).clamp(0.0, 7.0);
        // The rounding of the unmoved step, as a constant.
        (x.max(0.0) / moved).clamp(0.0, 7.0) * moved + (v.round_ties_even() - v) * moved
    };
    let objective = |moved: f32| -> f64 {
        let quantized = values.iter().map(|&x| value(x, moved)).collect();
        let shape = forward.value(read).unwrap().shape();
        let quantized = Tensor::from_vec(quantized, shape, &Device::Cpu).unwrap();
        let mut hook = Replace {
            node: last,
            value: quantized,
        };
        let network = FakeQuantized::new(&network).unwrap();
        let pass = executor::forward(network.graph(), &images(2), KEEP, &mut hook).unwrap();
        let logits = flat(pass.output());
        let products = logits.iter().zip(&cotangent);
        products.map(|(&z, c)| f64::from(z) * c).sum()
    };
    let shift = 1e-2_f32;
    let slope = (objective(step * shift.exp()) - objective(step * (-shift).exp()))
        / (2.0 * f64::from(shift));
    let found = f64::from(found);
    assert!(
        (slope - found).abs() < 0.02 * found.abs(),
        "{slope} {found}"
    );
}

/// Puts a value in the place of a node's output.
struct Replace {
    node: NodeId,
    value: Tensor,
}

impl executor::Hooks for Replace {
    fn output(&mut self, node: NodeId, value: Tensor) -> crate::nn::Result<Tensor> {
        Ok(if node == self.node {
            self.value.clone()
        } else {
            value
        })
    }
}
