use super::*;
use crate::{
    dfq::{golden::assert_close, golden::flat, golden::norm_distance},
    graph::{Graph, Op},
    zoo::{self, RandomParameters},
};

fn graph() -> Graph {
    let normalization = "0.5,0.5,0.5/0.25,0.25,0.25".parse().unwrap();
    let network = zoo::network("resnet8").unwrap();
    network
        .build(&mut RandomParameters::new(5), 10, normalization)
        .unwrap()
}

fn teacher() -> Teacher {
    Teacher::new(graph()).unwrap()
}

fn noise(seed: u64) -> Tensor {
    Random::new(seed, 0).normal((2, 3, 32, 32)).unwrap()
}

const NOTHING: Synthesis = Synthesis {
    images: 5,
    batch: 4,
    steps: 6,
    learning_rate: 0.1,
    class_logit: 0.0,
    statistics: 0.0,
    total_variation: 0.0,
    l2: 0.0,
};

#[test]
fn priors_match_finite_differences() {
    let images = Random::new(1, 0).normal((2, 2, 3, 4)).unwrap();
    for (name, prior) in [
        ("total variation", priors::total_variation as priors::Prior),
        ("mean square", priors::mean_square),
    ] {
        let (_, gradient) = prior(&images).unwrap();
        let values = flat(&images);
        let value = |index: usize, step: f32| {
            let mut values = values.clone();
            values[index] += step;
            let moved = Tensor::from_vec(values, images.shape(), images.device()).unwrap();
            prior(&moved).unwrap().0
        };
        // Both are quadratic, so that a large step is as exact as a small one.
        let slope = |index| (value(index, 0.5) - value(index, -0.5)) / 1.0;
        let expected: Vec<f64> = (0..values.len()).map(slope).collect();
        assert_close(name, &flat(&gradient), &expected, 1e-6, 1e-5);
    }
}

#[test]
fn total_variation_stays_within_a_plane() {
    let flat_planes = [1.0f32, -3.0].map(|level| [level; 6]).concat();
    let images = Tensor::from_vec(flat_planes, (1, 2, 2, 3), &candle_core::Device::Cpu).unwrap();
    assert_eq!(priors::total_variation(&images).unwrap().0, 0.0);
    assert_eq!(priors::mean_square(&images).unwrap().0, 5.0);
}

/// Along the gradient, the loss rises as fast as the gradient is long.
#[test]
fn every_term_has_its_gradient() {
    let (teacher, images) = (teacher(), noise(2));
    let weights = |class_logit, statistics, total_variation, l2| Synthesis {
        class_logit,
        statistics,
        total_variation,
        l2,
        ..NOTHING
    };
    for synthesis in [
        weights(2.0, 0.0, 0.0, 0.0),
        weights(0.0, 3.0, 0.0, 0.0),
        weights(0.0, 0.0, 50.0, 0.0),
        weights(0.0, 0.0, 0.0, 50.0),
        weights(1.0, 1.0, 10.0, 10.0),
    ] {
        let scale = InputScale {
            mean: -0.2,
            std: 1.5,
        };
        let loss = |images: &Tensor| {
            let loss = synthesis.loss(&teacher, scale, images, &[3, 8]);
            loss.unwrap()
        };
        let (_, gradient) = loss(&images);
        let length = norm_distance(&flat(&gradient), &vec![0.0; 2 * 3 * 32 * 32]);
        let step = 0.05;
        let along =
            |step: f64| loss(&(&images + (&gradient * (step / length)).unwrap()).unwrap()).0;
        let slope = (along(step) - along(-step)) / (2.0 * step);
        assert_close(&format!("{synthesis:?}"), &[slope], &[length], 0.0, 2e-2);
    }
}

fn run(synthesis: Synthesis) -> (Vec<Images>, Vec<Step>) {
    let mut steps = Vec::new();
    let mut random = Random::new(9, 0);
    let stop = AtomicBool::new(false);
    let images = synthesis.run(&teacher(), &mut random, &stop, &mut |step| steps.push(step));
    (images.unwrap(), steps)
}

#[test]
fn the_loss_falls_and_every_class_has_its_images() {
    for synthesis in [
        Synthesis {
            class_logit: 1.0,
            l2: 1.0,
            ..NOTHING
        },
        Synthesis {
            statistics: 1.0,
            ..NOTHING
        },
    ] {
        let (images, steps) = run(synthesis);
        let labels: Vec<&[usize]> = images.iter().map(|batch| batch.labels.as_slice()).collect();
        assert_eq!(labels, [&[0, 1, 2, 3][..], &[4]]);
        let sizes: Vec<usize> = images.iter().map(|batch| batch.images.dims()[0]).collect();
        assert_eq!(sizes, [4, 1]);
        assert_eq!(steps.len(), 12);
        assert_eq!((steps[11].done, steps[11].total), (12, 12));
        assert!(steps[5].loss < steps[0].loss, "{steps:?}");
        assert!(steps[11].loss < steps[6].loss, "{steps:?}");
    }
}

#[test]
fn it_stops_when_told_to() {
    let stop = AtomicBool::new(true);
    let result = NOTHING.run(&teacher(), &mut Random::new(1, 0), &stop, &mut |_| ());
    assert!(matches!(result, Err(Error::Stopped)));
}

#[test]
fn a_loss_that_is_no_number_is_named() {
    let mut broken = graph();
    for node in &mut broken.nodes {
        if let Op::Linear(linear) = &mut node.op {
            linear.weight = (&linear.weight * f64::NAN).unwrap();
        }
    }
    let synthesis = Synthesis {
        class_logit: 1.0,
        ..NOTHING
    };
    let stop = AtomicBool::new(false);
    let teacher = Teacher::new(broken).unwrap();
    let error = synthesis
        .run(&teacher, &mut Random::new(1, 0), &stop, &mut |_| ())
        .unwrap_err();
    assert_eq!(error.to_string(), "the loss of the optimised images is NaN");
}

#[test]
fn senseless_settings_are_named() {
    let wrong = Synthesis {
        images: 0,
        ..NOTHING
    };
    let message = wrong.check().unwrap_err().to_string();
    assert!(message.contains("`synthesis.images`"), "{message}");
    NOTHING.check().unwrap();
}
