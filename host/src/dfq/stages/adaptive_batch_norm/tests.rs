use std::sync::atomic::AtomicBool;

use candle_core::Tensor;

use super::*;
use crate::{
    dfq::{
        config::{Bits, Widths},
        fake_quantized::FakeQuantized,
        golden::{assert_close, flat, norm_distance},
        images::Repeated,
        observer::StartCorrection,
        random::Random,
        ranges::{self, RangeChoice, RangeRule},
    },
    graph::{BatchNorm, Graph},
    nn::ops::batch_norm,
    zoo::{self, RandomParameters},
};

const BITS: Bits = Bits {
    weights: 3,
    activations: 3,
};

fn teacher() -> Graph {
    let normalization = "0.5,0.5,0.5/0.25,0.25,0.25".parse().unwrap();
    let network = zoo::network("resnet8").unwrap();
    network
        .build(&mut RandomParameters::new(5), 10, normalization)
        .unwrap()
}

fn batch(seed: u64) -> Images {
    Images {
        images: Random::new(seed, 0).normal((4, 3, 32, 32)).unwrap(),
        labels: vec![0; 4],
    }
}

fn student(set: &Vec<Images>) -> Student {
    student_of(BITS, set)
}

fn student_of(bits: Bits, set: &Vec<Images>) -> Student {
    let rule = RangeRule {
        choice: RangeChoice::MinMax,
        percentile: 100.0,
    };
    let widths = Widths::from(bits).of(&teacher()).unwrap();
    let ranges = ranges::of_images(&teacher(), &widths.activations, set, rule).unwrap();
    let student = Student::new(&teacher(), widths, StartCorrection::Textbook).unwrap();
    student.with_ranges(&ranges)
}

fn adapted(set: &Vec<Images>, stage: AdaptiveBatchNorm) -> Student {
    let mut material = Material {
        teacher: &teacher(),
        images: &mut Repeated::new(set),
        stop: &AtomicBool::new(false),
    };
    stage.apply(student(set), &mut material).unwrap()
}

fn norms(graph: &Graph) -> Vec<(NodeId, BatchNorm)> {
    let nodes = graph.nodes.iter().enumerate();
    nodes
        .filter_map(|(index, node)| match &node.op {
            Op::BatchNorm(norm) => Some((NodeId(index), norm.clone())),
            _ => None,
        })
        .collect()
}

/// With the newest batch as the only one that counts, every layer of the finished student has the
/// statistics of what it reads in the finished student.
#[test]
fn every_layer_is_estimated_behind_the_finished_ones() {
    let set = vec![batch(1)];
    let stage = AdaptiveBatchNorm {
        batches: 1,
        momentum: 1.0,
        estimate: Estimate::Running,
    };
    let mut student = adapted(&set, stage);
    let pass = student.forward(&set[0].images, false, true).unwrap();
    for (id, norm) in norms(student.trained()) {
        let node = &student.trained().nodes[id.0];
        let read = pass.value(node.inputs[0]).unwrap();
        let channels = norm.running_mean.dims()[0];
        let moments = batch_norm::moments(read, channels).unwrap();
        let values = (read.elem_count() / channels) as f64;
        let unbiased = (&moments.var * (values / (values - 1.0))).unwrap();
        let name = &node.name;
        assert_close(
            name,
            &flat(&norm.running_mean),
            &flat(&moments.mean),
            1e-6,
            1e-5,
        );
        assert_close(name, &flat(&norm.running_var), &flat(&unbiased), 1e-6, 1e-5);
    }
}

#[test]
fn a_batch_counts_with_its_share_and_what_is_packed_is_what_was_adapted() {
    let set = vec![batch(1), batch(2)];
    let first = |batches, momentum| {
        let stage = AdaptiveBatchNorm {
            batches,
            momentum,
            estimate: Estimate::Running,
        };
        let student = adapted(&set, stage);
        let packed = student.quantized_graph().unwrap().graph;
        let norm = norms(&packed).remove(0).1;
        flat(&norm.running_mean)
    };
    let old: Vec<f32> = flat(&norms(&teacher())[0].1.running_mean);
    let (one, both) = (first(1, 1.0), first(2, 1.0));
    assert_ne!(one, both, "batches are taken in turn");
    let mixed: Vec<f64> = (0..old.len())
        .map(|c| 0.81 * f64::from(old[c]) + 0.09 * f64::from(one[c]) + 0.1 * f64::from(both[c]))
        .collect();
    assert_close("two batches", &first(2, 0.1), &mixed, 1e-6, 1e-5);
}

/// At eight bits there is next to nothing to correct, however far the images are from the training
/// data; at three bits the statistics of the first layer move by what its weights have lost.
#[test]
fn the_difference_is_that_of_quantization_alone() {
    let set = vec![batch(1), batch(2)];
    let stage = AdaptiveBatchNorm {
        batches: 2,
        momentum: 0.1,
        estimate: Estimate::Difference,
    };
    let distance = |bits| {
        let mut material = Material {
            teacher: &teacher(),
            images: &mut Repeated::new(&set),
            stop: &AtomicBool::new(false),
        };
        let student = stage.apply(student_of(bits, &set), &mut material).unwrap();
        let pairs = norms(student.trained()).into_iter().zip(norms(&teacher()));
        pairs
            .map(|((_, new), (_, old))| {
                norm_distance(&flat(&new.running_var), &flat(&old.running_var))
            })
            .sum::<f64>()
    };
    let fine = Bits {
        weights: 8,
        activations: 8,
    };
    let (few, many) = (distance(BITS), distance(fine));
    assert!(many < 0.05 * few, "{few} {many}");
}

/// The first layer reads the same images in both networks but for its own weights.
#[test]
fn the_difference_moves_means_by_the_difference_of_means() {
    let set = vec![batch(1)];
    let stage = AdaptiveBatchNorm {
        batches: 1,
        momentum: 0.1,
        estimate: Estimate::Difference,
    };
    let student = adapted(&set, stage);
    let (node, old) = norms(&teacher()).remove(0);
    let mut before = self::student(&set);
    let seen = moments(&old, &before.input_of(node, &set[0].images).unwrap()).unwrap();
    let expected = input_of(&teacher(), node, &set[0].images, &mut ()).unwrap();
    let expected = moments(&old, &expected).unwrap();
    let new = norms(student.trained()).remove(0).1;
    let mean = (&old.running_mean + (&seen.mean - &expected.mean).unwrap()).unwrap();
    assert_close("mean", &flat(&new.running_mean), &flat(&mean), 1e-6, 1e-5);
    let ratio = ((seen.var + old.eps).unwrap() / (expected.var + old.eps).unwrap()).unwrap();
    let var = (&old.running_var * ratio).unwrap();
    assert_close("var", &flat(&new.running_var), &flat(&var), 1e-6, 1e-5);
}

#[test]
fn estimates_are_read() {
    for estimate in Estimate::ALL {
        assert_eq!(estimate.name().parse::<Estimate>().unwrap(), estimate);
    }
    let message = "none".parse::<Estimate>().unwrap_err().to_string();
    assert!(message.contains("running, difference"), "{message}");
}

#[test]
fn it_stops_when_told_to() {
    let set = vec![batch(1)];
    let mut material = Material {
        teacher: &teacher(),
        images: &mut Repeated::new(&set),
        stop: &AtomicBool::new(true),
    };
    let stage = AdaptiveBatchNorm {
        batches: 1,
        momentum: 0.1,
        estimate: Estimate::Running,
    };
    let result = stage.apply(student(&set), &mut material);
    assert!(matches!(result, Err(Error::Stopped)));
}

#[test]
fn the_adapted_student_computes_with_its_new_statistics() {
    let set = vec![batch(1)];
    let stage = AdaptiveBatchNorm {
        batches: 1,
        momentum: 0.5,
        estimate: Estimate::Running,
    };
    let mut student = adapted(&set, stage);
    let packed = FakeQuantized::new(&student.quantized_graph().unwrap()).unwrap();
    let output = |tensor: &Tensor| flat(tensor);
    let trained = student.forward(&set[0].images, false, false).unwrap();
    let packed = packed.forward(&set[0].images).unwrap();
    assert_eq!(output(trained.output()), output(packed.output()));
}
