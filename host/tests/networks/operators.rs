//! Every operator and every way of fusing them, at mixed widths.

use lowbit_host::graph::{NodeId, Op, Padding, QuantizedGraph};
use lowbit_host::lower::{self, Options};
use lowbit_runtime::format::{Kind, Storage};

use crate::compared::{compare, lower_exact, random_images};
use crate::small::{Builder, Shape, random_network};

const NONE: Padding = Padding::same(0);
const ONE: Padding = Padding::same(1);

fn plain(channels: [usize; 2], kernel: usize) -> Shape {
    let padding = Padding::same(kernel / 2);
    Shape {
        channels,
        kernel,
        stride: 1,
        padding,
        groups: 1,
    }
}

/// Widths from 2 to 8 that change from node to node.
fn mixed(node: usize) -> u8 {
    2 + (node * 5 % 7) as u8
}

fn agrees(network: &QuantizedGraph) {
    let [channels, height, width] = network.graph.input_shape;
    let agreement = compare(network, &random_images([height, width, channels], 4, 9));
    assert!(
        agreement.differences * 10_000 <= agreement.codes,
        "{agreement:?}"
    );
    assert!(agreement.logits < 1e-4, "{agreement:?}");
}

/// The first layer of the networks below: 3 channels to 8, half the size.
fn stem(builder: &mut Builder) -> NodeId {
    let padding = Padding {
        top: 0,
        left: 0,
        bottom: 1,
        right: 1,
    };
    let shape = Shape {
        channels: [3, 8],
        kernel: 3,
        stride: 2,
        padding,
        groups: 1,
    };
    let input = builder.input();
    let stem = builder.conv_norm(&shape, true, input);
    builder.relu(stem)
}

fn classify(builder: &mut Builder, features: usize, image: NodeId) {
    let pooled = builder.push(Op::GlobalAveragePool, &[image]);
    builder.linear(features, 5, pooled);
}

/// Depthwise, grouped and 1x1 convolutions, ReLU6, and outputs with negative values.
#[test]
fn inverted_bottlenecks_agree() {
    let mut builder = Builder::new([3, 16, 16]);
    let stem = stem(&mut builder);
    let narrow = builder.conv_norm(&plain([8, 16], 1), false, stem);
    let narrow = builder.quantize(narrow);
    let grouped = Shape {
        groups: 4,
        ..plain([16, 16], 3)
    };
    let wide = builder.conv_norm(&grouped, false, narrow);
    let wide = builder.push(Op::Relu6, &[wide]);
    let wide = builder.quantize(wide);
    let depthwise = Shape {
        groups: 16,
        stride: 1,
        padding: ONE,
        ..plain([16, 16], 3)
    };
    let deep = builder.conv_norm(&depthwise, false, wide);
    let deep = builder.relu(deep);
    let projected = builder.conv_norm(&plain([16, 16], 1), false, deep);
    let sum = builder.push(Op::Add, &[narrow, projected]);
    let sum = builder.quantize(sum);
    let last = builder.conv_norm(&plain([16, 8], 3), false, sum);
    let last = builder.relu(last);
    classify(&mut builder, 8, last);
    let network = builder.finish(mixed);
    let program = lower_exact(&network);
    let signed = program
        .steps
        .iter()
        .filter(|step| step.output.zero_point < 0);
    assert_eq!(signed.count(), 2);
    agrees(&network);
}

/// A hidden linear layer behind a flattened image, and a convolution with bias but no BatchNorm.
#[test]
fn hidden_linear_layers_agree() {
    let mut builder = Builder::new([3, 12, 10]);
    let stem = stem(&mut builder);
    let shape = Shape {
        stride: 2,
        padding: NONE,
        ..plain([8, 6], 3)
    };
    let conv = builder.conv(&shape, true, stem);
    let conv = builder.relu(conv);
    let flat = builder.push(Op::Flatten, &[conv]);
    let hidden = builder.linear(6 * 2 * 2, 20, flat);
    let hidden = builder.relu(hidden);
    builder.linear(20, 7, hidden);
    agrees(&builder.finish(mixed));
}

/// Maximum and average of windows, and windows whose sums the classifier reads.
#[test]
fn pools_agree() {
    let mut builder = Builder::new([3, 16, 16]);
    let stem = stem(&mut builder);
    let largest = Op::MaxPool {
        window: [3, 3],
        stride: [2, 2],
        padding: ONE,
    };
    let largest = builder.push(largest, &[stem]);
    let conv = builder.conv_norm(&plain([8, 8], 3), false, largest);
    let conv = builder.quantize(conv);
    let mean = builder.push(
        Op::AveragePool {
            window: [2, 2],
            stride: [1, 1],
        },
        &[conv],
    );
    let mean = builder.quantize(mean);
    let conv = builder.conv_norm(
        &Shape {
            padding: ONE,
            ..plain([8, 12], 2)
        },
        false,
        mean,
    );
    let conv = builder.relu(conv);
    let sums = builder.push(
        Op::AveragePool {
            window: [2, 2],
            stride: [2, 2],
        },
        &[conv],
    );
    let flat = builder.push(Op::Flatten, &[sums]);
    builder.linear(12 * 2 * 2, 5, flat);
    let network = builder.finish(mixed);
    let program = lower_exact(&network);
    let sums = program
        .steps
        .iter()
        .find(|step| matches!(step.kind, Kind::SumPool { .. }))
        .unwrap();
    assert_eq!(sums.output.storage, Storage::Value32);
    agrees(&network);
}

/// A pool with a quantizer of its own in front of a hidden layer.
#[test]
fn hidden_layers_behind_global_pools_agree() {
    let mut builder = Builder::new([3, 16, 16]);
    let stem = stem(&mut builder);
    let pooled = builder.push(Op::GlobalAveragePool, &[stem]);
    let pooled = builder.quantize(pooled);
    let hidden = builder.linear(8, 16, pooled);
    let hidden = builder.relu(hidden);
    builder.linear(16, 5, hidden);
    agrees(&builder.finish(|_| 8));
}

/// Sums of two quantized tensors, of two projections, and of a tensor that is read again later.
#[test]
fn sums_of_all_kinds_agree() {
    let mut builder = Builder::new([3, 16, 16]);
    let stem = stem(&mut builder);
    let conv = builder.conv_norm(&plain([8, 8], 3), false, stem);
    let conv = builder.relu(conv);
    let sum = builder.push(Op::Add, &[stem, conv]);
    let sum = builder.relu(sum);
    let halved = Shape {
        stride: 2,
        ..plain([8, 16], 3)
    };
    let body = builder.conv_norm(&halved, false, sum);
    let skip = builder.conv(
        &Shape {
            stride: 2,
            ..plain([8, 16], 1)
        },
        true,
        stem,
    );
    let sum = builder.push(Op::Add, &[skip, body]);
    let sum = builder.relu(sum);
    let pad = Op::SubsamplePad {
        stride: 2,
        front: 3,
        back: 5,
    };
    let pad = builder.push(pad, &[sum]);
    let body = builder.conv_norm(
        &Shape {
            stride: 2,
            ..plain([16, 24], 3)
        },
        false,
        sum,
    );
    let sum = builder.push(Op::Add, &[pad, body]);
    let sum = builder.relu(sum);
    classify(&mut builder, 24, sum);
    let network = builder.finish(mixed);
    let adds = lower_exact(&network).steps.into_iter();
    assert_eq!(
        adds.filter(|step| matches!(step.kind, Kind::Add { .. }))
            .count(),
        1
    );
    agrees(&network);
}

/// Equal weights in a channel, and a channel without any.
#[test]
fn constant_channels_agree() {
    let mut builder = Builder::new([3, 8, 8]);
    let stem = stem(&mut builder);
    let conv = builder.conv_norm(&plain([8, 8], 3), false, stem);
    let conv = builder.relu(conv);
    classify(&mut builder, 8, conv);
    let mut network = builder.finish(|_| 4);
    let Op::Conv2d(conv) = &mut network.graph.nodes[4].op else {
        panic!("a convolution expected");
    };
    let mut weight = conv.weight.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    weight[..72].fill(-0.037);
    weight[72..144].fill(0.0);
    conv.weight =
        candle_core::Tensor::from_vec(weight, (8, 8, 3, 3), conv.weight.device()).unwrap();
    agrees(&network);
}

#[test]
fn what_has_no_integer_form_is_named() {
    let refused = |change: fn(&mut Builder, NodeId) -> NodeId| {
        let mut builder = Builder::new([3, 8, 8]);
        let stem = stem(&mut builder);
        let conv = builder.conv_norm(&plain([8, 8], 3), false, stem);
        let last = change(&mut builder, conv);
        classify(&mut builder, 8, last);
        let network = builder.finish(|_| 4);
        let error = lower::lower(&network, &Options::default()).unwrap_err();
        error.to_string()
    };
    let error = refused(|builder, conv| builder.push(Op::Tanh, &[conv]));
    assert!(
        error.contains("`node6`") && error.contains("Tanh"),
        "{error}"
    );
    let error = refused(|builder, conv| builder.push(Op::Relu, &[conv]));
    assert!(
        error.contains("`node6`") && error.contains("range"),
        "{error}"
    );
    let error = refused(|builder, conv| {
        builder.quantize(NodeId(conv.0 - 1));
        builder.relu(conv)
    });
    assert!(
        error.contains("`node5`") && error.contains("`node4`"),
        "{error}"
    );
    let network = random_network("resnet8", 4);
    for input_bits in [0, 1, 17, 255] {
        let options = Options {
            input_bits,
            ..Options::default()
        };
        let error = lower::lower(&network, &options).unwrap_err().to_string();
        assert!(error.contains(&input_bits.to_string()), "{error}");
    }
}
