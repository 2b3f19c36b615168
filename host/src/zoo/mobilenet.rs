//! MobileNetV2: inverted residuals with linear bottlenecks and ReLU6.

use candle_core::Result;

use super::Parameters;
use super::builder::{Builder, Geometry, TORCH_EPS};
use super::naming::ConvNames;
use crate::graph::{Node, NodeId, Op};

/// Channels within a block per channel that it reads, channels that it writes, number of blocks,
/// step of the first of them.
const STAGES: [[usize; 4]; 7] = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
];
const STEM: usize = 32;
const LAST: usize = 1280;

/// How checkpoints call the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// `features.1.conv.0.0`, as torchvision has it.
    Features,
    /// `blocks.0.0.conv_dw`, as timm has it.
    Blocks,
}

/// Layers of a block.
#[derive(Clone, Copy)]
enum Layer {
    Expand,
    Depthwise,
    Project,
}

impl Naming {
    fn detect(parameters: &dyn Parameters) -> Self {
        if parameters.contains("conv_stem.weight") {
            Self::Blocks
        } else {
            Self::Features
        }
    }

    fn stem(self) -> ConvNames {
        match self {
            Self::Features => ConvNames::new("features.0.", "0", "1"),
            Self::Blocks => ConvNames::new("", "conv_stem", "bn1"),
        }
    }

    fn last(self) -> ConvNames {
        match self {
            Self::Features => ConvNames::new("features.18.", "0", "1"),
            Self::Blocks => ConvNames::new("", "conv_head", "bn2"),
        }
    }

    fn classifier(self) -> &'static str {
        match self {
            Self::Features => "classifier.1",
            Self::Blocks => "classifier",
        }
    }

    /// `number` counts all blocks from 0, `stage` and `block` as in [`STAGES`].
    fn prefix(self, number: usize, stage: usize, block: usize) -> String {
        match self {
            Self::Features => format!("features.{}.", number + 1),
            Self::Blocks => format!("blocks.{stage}.{block}."),
        }
    }

    fn layer(self, prefix: &str, layer: Layer, expands: bool) -> ConvNames {
        let names = |conv: &str, norm: &str| ConvNames::new(prefix, conv, norm);
        match (self, layer) {
            (Self::Features, Layer::Expand) => names("conv.0.0", "conv.0.1"),
            (Self::Features, Layer::Depthwise) if expands => names("conv.1.0", "conv.1.1"),
            (Self::Features, Layer::Depthwise) => names("conv.0.0", "conv.0.1"),
            (Self::Features, Layer::Project) if expands => names("conv.2", "conv.3"),
            (Self::Features, Layer::Project) => names("conv.1", "conv.2"),
            (Self::Blocks, Layer::Expand) => names("conv_pw", "bn1"),
            (Self::Blocks, Layer::Depthwise) if expands => names("conv_dw", "bn2"),
            (Self::Blocks, Layer::Depthwise) => names("conv_dw", "bn1"),
            (Self::Blocks, Layer::Project) if expands => names("conv_pwl", "bn3"),
            (Self::Blocks, Layer::Project) => names("conv_pw", "bn2"),
        }
    }
}

/// Name of the classifier.
pub(super) fn classifier(parameters: &dyn Parameters) -> &'static str {
    Naming::detect(parameters).classifier()
}

/// The operators of the network.
pub(super) fn nodes(parameters: &mut dyn Parameters, classes: usize) -> Result<Vec<Node>> {
    let naming = Naming::detect(parameters);
    let mut builder = Builder::new(parameters, TORCH_EPS);
    let input = builder.input();
    let stem = builder.conv_norm(&naming.stem(), Geometry::centred([3, STEM], 3, 2), input)?;
    let mut image = builder.push("relu6", Op::Relu6, [stem]);
    let (mut channels, mut number) = (STEM, 0);
    for (stage, [expansion, out, blocks, stride]) in STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let sizes = Sizes {
                channels: [channels, out],
                expansion,
                stride: if block == 0 { stride } else { 1 },
            };
            let prefix = naming.prefix(number, stage, block);
            image = inverted_residual(&mut builder, naming, &prefix, sizes, image)?;
            channels = out;
            number += 1;
        }
    }
    let sizes = Geometry::centred([channels, LAST], 1, 1);
    let last = builder.conv_norm(&naming.last(), sizes, image)?;
    let last = builder.push("last_relu6", Op::Relu6, [last]);
    let pooled = builder.push("pool", Op::GlobalAveragePool, [last]);
    builder.linear(naming.classifier(), [LAST, classes], pooled)?;
    Ok(builder.nodes)
}

#[derive(Clone, Copy)]
struct Sizes {
    channels: [usize; 2],
    expansion: usize,
    stride: usize,
}

fn inverted_residual(
    builder: &mut Builder<'_>,
    naming: Naming,
    prefix: &str,
    sizes: Sizes,
    input: NodeId,
) -> Result<NodeId> {
    let [channels, out] = sizes.channels;
    let wide = channels * sizes.expansion;
    let expands = sizes.expansion > 1;
    let mut image = input;
    if expands {
        let names = naming.layer(prefix, Layer::Expand, expands);
        let geometry = Geometry::centred([channels, wide], 1, 1);
        image = builder.conv_norm(&names, geometry, image)?;
        image = builder.push(&format!("{prefix}expand_relu6"), Op::Relu6, [image]);
    }
    let names = naming.layer(prefix, Layer::Depthwise, expands);
    image = builder.conv_norm(&names, Geometry::depthwise(wide, sizes.stride), image)?;
    image = builder.push(&format!("{prefix}depthwise_relu6"), Op::Relu6, [image]);
    let names = naming.layer(prefix, Layer::Project, expands);
    image = builder.conv_norm(&names, Geometry::centred([wide, out], 1, 1), image)?;
    if sizes.stride == 1 && channels == out {
        image = builder.push(&format!("{prefix}add"), Op::Add, [image, input]);
    }
    Ok(image)
}
