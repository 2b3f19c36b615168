//! Channels that are always 0 can be left out without a trace in the logits.

use candle_core::{Device, Tensor};
use lowbit_host::graph::{Op, Padding, QuantizedGraph};
use lowbit_host::integer::IntegerNetwork;
use lowbit_host::lower::{self, Options, Program};
use lowbit_host::pack;
use proptest::prelude::*;

use crate::compared::random_images;
use crate::small::{Builder, Shape};

const CHANNELS: usize = 12;

fn shape(input: usize, output: usize, kernel: usize, groups: usize) -> Shape {
    Shape {
        channels: [input, output],
        kernel,
        stride: 1,
        padding: Padding::same(kernel / 2),
        groups,
    }
}

/// A convolution, a depthwise and a pointwise one, and a pool; the channels named in `dead` are 0
/// behind the first two (by the same shift of BatchNorm) and behind the last.
fn network(dead: &[bool], bits: u8) -> QuantizedGraph {
    let mut builder = Builder::new([3, 8, 8]);
    let layers = [
        shape(3, CHANNELS, 3, 1),
        shape(CHANNELS, CHANNELS, 3, CHANNELS),
        shape(CHANNELS, CHANNELS, 1, 1),
    ];
    let mut image = builder.input();
    for layer in &layers {
        let norm = builder.conv_norm(layer, false, image);
        image = builder.relu(norm);
    }
    let pooled = builder.push(Op::GlobalAveragePool, &[image]);
    builder.linear(CHANNELS, 5, pooled);
    let mut network = builder.finish(|_| bits);
    for node in &mut network.graph.nodes {
        let Op::BatchNorm(norm) = &mut node.op else {
            continue;
        };
        let gamma = dead.iter().map(|dead| if *dead { 1e-3f32 } else { 1.0 });
        let beta = dead.iter().map(|dead| if *dead { -100f32 } else { 0.2 });
        let vector = |values: Vec<f32>| Tensor::from_vec(values, CHANNELS, &Device::Cpu).unwrap();
        norm.weight = Some(vector(gamma.collect()));
        norm.bias = Some(vector(beta.collect()));
    }
    network
}

fn lowered(network: &QuantizedGraph, remove_dead_channels: bool) -> Program {
    let options = Options {
        remove_dead_channels,
        ..Options::default()
    };
    lower::lower(network, &options).expect("has integer form")
}

fn logits(program: &Program) -> Vec<Vec<i32>> {
    let packed = pack::pack(program, &[]).expect("packs");
    let network = IntegerNetwork::new(&packed).expect("is a model");
    let images = random_images([8, 8, 3], 4, 7);
    let run = |image| network.logits(images.image(image)).expect("runs");
    (0..images.len()).map(run).collect()
}

fn channels(program: &Program) -> Vec<u16> {
    let steps = program.steps.iter();
    steps.map(|step| step.output.channels).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn leaving_them_out_changes_no_logit(
        dead in prop::collection::vec(any::<bool>(), CHANNELS),
        bits in 2u8..=8,
    ) {
        let network = network(&dead, bits);
        let (whole, reduced) = (lowered(&network, false), lowered(&network, true));
        prop_assert_eq!(logits(&whole), logits(&reduced));
        let left = left_of(&dead);
        prop_assert_eq!(channels(&whole), [3, 12, 12, 12, 12, 5]);
        // With few bits, a channel may be constant although its shift does not make it so.
        for (channels, most) in channels(&reduced).into_iter().zip([3, left, left, left, left, 5]) {
            prop_assert!(channels <= most, "{channels} channels, of which {most} can be alive");
        }
    }
}

/// How many channels a layer keeps whose other ones are `dead`: a multiple of 4, at least 4.
fn left_of(dead: &[bool]) -> u16 {
    let alive = dead.iter().filter(|dead| !**dead).count();
    alive.next_multiple_of(4).max(4) as u16
}

#[test]
fn exactly_the_dead_channels_are_left_out() {
    for dead_count in 0..=CHANNELS {
        let dead: Vec<bool> = (0..CHANNELS).map(|channel| channel < dead_count).collect();
        let reduced = lowered(&network(&dead, 8), true);
        let left = left_of(&dead);
        assert_eq!(channels(&reduced), [3, left, left, left, left, 5]);
    }
}

/// What both ends of a shortcut need stays.
#[test]
fn channels_of_a_sum_stay() {
    let mut builder = Builder::new([3, 8, 8]);
    let stem = builder.conv_norm(&shape(3, 8, 3, 1), false, builder.input());
    let stem = builder.relu(stem);
    let inner = builder.conv_norm(&shape(8, 8, 3, 1), false, stem);
    let inner = builder.relu(inner);
    let outer = builder.conv_norm(&shape(8, 8, 3, 1), false, inner);
    let sum = builder.push(Op::Add, &[stem, outer]);
    let sum = builder.relu(sum);
    let pooled = builder.push(Op::GlobalAveragePool, &[sum]);
    builder.linear(8, 5, pooled);
    let mut network = builder.finish(|_| 4);
    for node in &mut network.graph.nodes {
        if let Op::BatchNorm(norm) = &mut node.op {
            norm.weight = Some(Tensor::full(1e-3f32, 8, &Device::Cpu).unwrap());
            norm.bias = Some(Tensor::full(-100f32, 8, &Device::Cpu).unwrap());
        }
    }
    let reduced = lowered(&network, true);
    assert_eq!(channels(&reduced), [3, 8, 4, 8, 8, 5]);
    assert_eq!(logits(&lowered(&network, false)), logits(&reduced));
}
