//! Residual networks: a convolution, stages of blocks, average pool, linear layer.

use candle_core::Result;

use super::Parameters;
use super::builder::{Builder, Geometry, TORCH_EPS};
use super::naming::Naming;
use crate::graph::{Node, NodeId, Op, Padding};

const IMAGE_CHANNELS: usize = 3;

/// What tells one residual network from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Residual {
    stem: Stem,
    /// Channels of the first convolution.
    stem_channels: usize,
    /// Channels of each stage's blocks, before they are widened.
    widths: &'static [usize],
    /// Blocks of each stage.
    blocks: [usize; 4],
    kind: Block,
    /// Whether every block ends in a ReLU; if not, every stage does.
    relu_after_sum: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stem {
    /// 3x3.
    Small,
    /// 7x7 by 2 and a 3x3 maximum by 2.
    Large,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3 and 1x1 to four times the channels.
    Bottleneck,
}

impl Block {
    const fn widening(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }
}

impl Residual {
    /// For CIFAR: three stages of `blocks` basic blocks with 16, 32 and 64 channels.
    pub(super) const fn cifar(blocks: usize) -> Self {
        Self {
            stem: Stem::Small,
            stem_channels: 16,
            widths: &[16, 32, 64],
            blocks: [blocks, blocks, blocks, 0],
            kind: Block::Basic,
            relu_after_sum: true,
        }
    }

    /// 20 layers with 64 channels in the first, sums without ReLU and a 4x4 average pool.
    pub(super) const WIDE_STEM: Self = Self {
        stem_channels: 64,
        relu_after_sum: false,
        ..Self::cifar(3)
    };

    /// ResNet-18 for ImageNet.
    pub(super) const RESNET18: Self = Self {
        stem: Stem::Large,
        stem_channels: 64,
        widths: &[64, 128, 256, 512],
        blocks: [2, 2, 2, 2],
        kind: Block::Basic,
        relu_after_sum: true,
    };

    /// ResNet-50 for ImageNet, the step of a stage in its first 3x3 convolution.
    pub(super) const RESNET50: Self = Self {
        blocks: [3, 4, 6, 3],
        kind: Block::Bottleneck,
        ..Self::RESNET18
    };

    /// The operators of the network.
    pub(super) fn nodes(
        self,
        parameters: &mut dyn Parameters,
        classes: usize,
    ) -> Result<Vec<Node>> {
        let naming = Naming::detect(parameters);
        let mut network = Network {
            builder: Builder::new(parameters, TORCH_EPS),
            naming,
            shape: self,
        };
        let mut image = network.stem()?;
        let mut channels = self.stem_channels;
        for (stage, &width) in self.widths.iter().enumerate() {
            for block in 0..self.blocks[stage] {
                let sizes = Sizes {
                    channels,
                    width,
                    stride: if stage > 0 && block == 0 { 2 } else { 1 },
                };
                image = network.block(&naming.block(stage, block), sizes, image)?;
                channels = width * self.kind.widening();
            }
            if !self.relu_after_sum {
                let name = format!("layer{}.relu", stage + 1);
                image = network.builder.push(&name, Op::Relu, [image]);
            }
        }
        network.head(channels, classes, image)?;
        Ok(network.builder.nodes)
    }
}

/// Channels that a block reads, channels within it, its step.
#[derive(Clone, Copy)]
struct Sizes {
    channels: usize,
    width: usize,
    stride: usize,
}

struct Network<'a> {
    builder: Builder<'a>,
    naming: Naming,
    shape: Residual,
}

impl Network<'_> {
    fn stem(&mut self) -> Result<NodeId> {
        let channels = [IMAGE_CHANNELS, self.shape.stem_channels];
        let sizes = match self.shape.stem {
            Stem::Small => Geometry::centred(channels, 3, 1),
            Stem::Large => Geometry::centred(channels, 7, 2),
        };
        let input = self.builder.input();
        let stem = self.builder.conv_norm(&self.naming.stem(), sizes, input)?;
        let image = self.builder.push("relu", Op::Relu, [stem]);
        if self.shape.stem == Stem::Small {
            return Ok(image);
        }
        let op = Op::MaxPool {
            window: [3, 3],
            stride: [2, 2],
            padding: Padding::same(1),
        };
        Ok(self.builder.push("maxpool", op, [image]))
    }

    /// `body(x) + shortcut(x)`.
    fn block(&mut self, prefix: &str, sizes: Sizes, input: NodeId) -> Result<NodeId> {
        let Sizes {
            channels,
            width,
            stride,
        } = sizes;
        let out = width * self.shape.kind.widening();
        let shortcut = self.shortcut(prefix, [channels, out], stride, input)?;
        let layers = match self.shape.kind {
            Block::Basic => vec![
                Geometry::centred([channels, width], 3, stride),
                Geometry::centred([width, width], 3, 1),
            ],
            Block::Bottleneck => vec![
                Geometry::centred([channels, width], 1, 1),
                Geometry::centred([width, width], 3, stride),
                Geometry::centred([width, out], 1, 1),
            ],
        };
        let mut body = input;
        let last = layers.len();
        for (index, sizes) in layers.into_iter().enumerate() {
            let number = index + 1;
            let names = self.naming.body(prefix, number);
            body = self.builder.conv_norm(&names, sizes, body)?;
            if number < last {
                let name = format!("{prefix}relu{number}");
                body = self.builder.push(&name, Op::Relu, [body]);
            }
        }
        let name = format!("{prefix}add");
        let sum = self.builder.push(&name, Op::Add, [body, shortcut]);
        if !self.shape.relu_after_sum {
            return Ok(sum);
        }
        let name = format!("{prefix}relu{last}");
        Ok(self.builder.push(&name, Op::Relu, [sum]))
    }

    /// A projection where the checkpoint has one or the channels become fewer, else the input
    /// itself, or, where the shape changes, every `stride`-th pixel of it with channels of zeros on
    /// both sides. Networks for ImageNet always have projections.
    fn shortcut(
        &mut self,
        prefix: &str,
        channels: [usize; 2],
        stride: usize,
        input: NodeId,
    ) -> Result<NodeId> {
        let names = self.naming.projection(prefix);
        let weight = format!("{}.weight", names.conv);
        let same_shape = stride == 1 && channels[0] == channels[1];
        let only_projections = self.shape.stem == Stem::Large || !self.shape.relu_after_sum;
        if self.builder.parameters.contains(&weight) || (only_projections && !same_shape) {
            let sizes = Geometry::centred(channels, 1, stride);
            return self.builder.conv_norm(&names, sizes, input);
        }
        if same_shape {
            return Ok(input);
        }
        let added = channels[1] - channels[0];
        let op = Op::SubsamplePad {
            stride,
            front: added / 2,
            back: added - added / 2,
        };
        Ok(self.builder.push(&format!("{prefix}shortcut"), op, [input]))
    }

    fn head(&mut self, channels: usize, classes: usize, image: NodeId) -> Result<NodeId> {
        let name = self.naming.classifier();
        if self.shape.relu_after_sum {
            let pooled = self.builder.push("pool", Op::GlobalAveragePool, [image]);
            return self.builder.linear(name, [channels, classes], pooled);
        }
        // A 4x4 pool of an 8x8 image.
        let op = Op::AveragePool {
            window: [4, 4],
            stride: [4, 4],
        };
        let pooled = self.builder.push("pool", op, [image]);
        let flat = self.builder.push("flatten", Op::Flatten, [pooled]);
        self.builder.linear(name, [channels * 4, classes], flat)
    }
}
