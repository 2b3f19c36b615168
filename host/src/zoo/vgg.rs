//! VGG for CIFAR: 3x3 convolutions with BatchNorm, maxima of 2x2, one linear layer. Layers are
//! numbered as in the usual `nn.Sequential`: convolution, BatchNorm, ReLU, ..., pool.

use candle_core::Result;

use super::Parameters;
use super::builder::{Builder, Geometry, TORCH_EPS};
use super::naming::ConvNames;
use crate::graph::{Node, Op, Padding};

/// Channels of the convolutions between two pools.
const STAGES: [&[usize]; 5] = [
    &[64, 64],
    &[128, 128],
    &[256, 256, 256],
    &[512, 512, 512],
    &[512, 512, 512],
];

/// Name of the classifier.
pub(super) const CLASSIFIER: &str = "classifier";

/// The operators of VGG-16.
pub(super) fn nodes(parameters: &mut dyn Parameters, classes: usize) -> Result<Vec<Node>> {
    let mut builder = Builder::new(parameters, TORCH_EPS);
    let mut image = builder.input();
    let (mut channels, mut number) = (3, 0);
    for stage in STAGES {
        for &out in stage {
            let [conv, norm, relu] = [0, 1, 2].map(|place| (number + place).to_string());
            let names = ConvNames::new("features.", &conv, &norm);
            image = builder.conv_norm(&names, Geometry::centred([channels, out], 3, 1), image)?;
            image = builder.push(&format!("features.{relu}"), Op::Relu, [image]);
            channels = out;
            number += 3;
        }
        let op = Op::MaxPool {
            window: [2, 2],
            stride: [2, 2],
            padding: Padding::default(),
        };
        image = builder.push(&format!("features.{number}"), op, [image]);
        number += 1;
    }
    let flat = builder.push("flatten", Op::Flatten, [image]);
    builder.linear(CLASSIFIER, [channels, classes], flat)?;
    Ok(builder.nodes)
}
