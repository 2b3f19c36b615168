//! The two generators of the published code, as graphs: one for CIFAR sizes, whose noise is
//! multiplied by an embedding of the class, and one for ImageNet, whose batch normalisations have
//! weights and biases per class.
//!
//! ```text
//! noise ─(x embedding)─ linear ─ BN* ─ x2 ─ conv 128 ─ BN* ─ leaky ─ x2 ─ conv 64 ─ BN* ─ leaky ─ conv ─ tanh ─ BN
//! ```
//! BN* is class-conditional in the second. The final BN has no weight, so that images have mean 0
//! and variance 1 per channel over the batch, like normalised real ones. What both make has sides
//! that are multiples of 4; the image is its middle.

use candle_core::{DType, Device, Tensor};

use super::{Crop, Generator, Modulation, Stage};
use crate::{
    dfq::{Error, Result, input_scale::InputScale, random::Random},
    graph::{
        BatchNorm, Conv2d, Graph, Linear, Node, NodeId, Normalization, Op, Padding, Placement,
    },
};

/// Channels of the first convolution and of what enters it.
const WIDE: usize = 128;
/// Channels of the second convolution.
const NARROW: usize = 64;
/// Rows and columns of the image for each that the linear layer makes.
const SCALE: usize = 4;
/// The published code passes 0.8 where the constant added to the variance is expected.
const LARGE_EPS: f64 = 0.8;
const EPS: f64 = 1e-5;
const SLOPE: f64 = 0.2;

/// Sizes of a generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Numbers of noise per image.
    pub latent: usize,
    /// Classes.
    pub classes: usize,
    /// Channels, height and width of the image.
    pub image: [usize; 3],
}

/// A graph under construction: a chain of nodes.
struct Chain {
    nodes: Vec<Node>,
}

impl Chain {
    fn new() -> Self {
        let mut chain = Self { nodes: Vec::new() };
        chain.push("input", Op::Input);
        chain
    }

    fn push(&mut self, name: &str, op: Op) {
        let inputs = self.nodes.len().checked_sub(1).map(NodeId);
        self.nodes.push(Node {
            name: name.to_owned(),
            op,
            inputs: inputs.into_iter().collect(),
        });
    }

    fn plain(&mut self, op: Op) {
        self.push(&format!("node{}", self.nodes.len()), op);
    }

    /// PyTorch's default start: evenly distributed up to one over the root of the inputs.
    fn linear(&mut self, name: &str, [out, inputs]: [usize; 2], random: &mut Random) -> Result<()> {
        let bound = (inputs as f64).sqrt().recip();
        let linear = Linear {
            weight: random.uniform((out, inputs), bound)?,
            bias: Some(random.uniform(out, bound)?),
        };
        self.push(name, Op::Linear(linear));
        Ok(())
    }

    fn conv(&mut self, name: &str, [out, inputs]: [usize; 2], random: &mut Random) -> Result<()> {
        let bound = ((inputs * 9) as f64).sqrt().recip();
        let conv = Conv2d {
            weight: random.uniform((out, inputs, 3, 3), bound)?,
            bias: Some(random.uniform(out, bound)?),
            stride: 1,
            padding: Padding::same(1),
            groups: 1,
        };
        self.push(name, Op::Conv2d(conv));
        Ok(())
    }

    fn norm(&mut self, name: &str, channels: usize, eps: f64, affine: bool) -> Result<()> {
        let ones = Tensor::ones(channels, DType::F32, &Device::Cpu)?;
        let zeros = ones.zeros_like()?;
        let norm = BatchNorm {
            weight: affine.then(|| ones.clone()),
            bias: affine.then(|| zeros.clone()),
            running_mean: zeros,
            running_var: ones,
            eps,
        };
        self.push(name, Op::BatchNorm(norm));
        Ok(())
    }

    fn stage(
        self,
        modulation: Option<Modulation>,
        input_shape: [usize; 3],
        classes: usize,
    ) -> Stage {
        let graph = Graph {
            name: "generator".to_owned(),
            input_shape,
            normalization: Normalization {
                mean: Vec::new(),
                std: Vec::new(),
            },
            classes,
            nodes: self.nodes,
            placement: Placement::default(),
        };
        Stage { modulation, graph }
    }
}

impl Sizes {
    /// Channels, height and width of what the linear layer makes.
    fn small(&self) -> Result<[usize; 3]> {
        let [_, height, width] = self.image;
        if height == 0 || width == 0 {
            return Err(Error::ImageSize { height, width });
        }
        Ok([WIDE, height.div_ceil(SCALE), width.div_ceil(SCALE)])
    }

    /// From what the last layer makes to the image.
    fn crop(&self) -> Result<Crop> {
        let [_, height, width] = self.image;
        let [_, rows, columns] = self.small()?;
        Ok(Crop::new([rows * SCALE, columns * SCALE], [height, width]))
    }
}

/// Images with more pixels get the generator for ImageNet.
const LARGEST_CIFAR: usize = 64 * 64;

impl Generator {
    /// The generator for images of this size, with PyTorch's default start.
    ///
    /// # Errors
    /// [`Error::ImageSize`] for images without pixels.
    pub fn fitting(sizes: Sizes, random: &mut Random) -> Result<Self> {
        let [_, height, width] = sizes.image;
        if height.saturating_mul(width) <= LARGEST_CIFAR {
            Self::cifar(sizes, random)
        } else {
            Self::imagenet(sizes, random)
        }
    }

    /// The generator for images of CIFAR size, with PyTorch's default start.
    ///
    /// # Errors
    /// [`Error::ImageSize`] for images without pixels.
    pub fn cifar(sizes: Sizes, random: &mut Random) -> Result<Self> {
        let embedding = Modulation {
            names: ["label_emb.weight".to_owned(), String::new()],
            factor: random.normal((sizes.classes, sizes.latent))?,
            summand: None,
        };
        let channels = sizes.image[0];
        let small = sizes.small()?;
        let mut chain = Chain::new();
        chain.linear("l1.0", [small.iter().product(), sizes.latent], random)?;
        chain.plain(Op::Reshape { shape: small });
        chain.norm("conv_blocks0.0", WIDE, EPS, true)?;
        chain.plain(Op::Upsample { factor: 2 });
        chain.conv("conv_blocks1.0", [WIDE, WIDE], random)?;
        chain.norm("conv_blocks1.1", WIDE, LARGE_EPS, true)?;
        chain.plain(Op::LeakyRelu { slope: SLOPE });
        chain.plain(Op::Upsample { factor: 2 });
        chain.conv("conv_blocks2.0", [NARROW, WIDE], random)?;
        chain.norm("conv_blocks2.1", NARROW, LARGE_EPS, true)?;
        chain.plain(Op::LeakyRelu { slope: SLOPE });
        chain.conv("conv_blocks2.3", [channels, NARROW], random)?;
        chain.plain(Op::Tanh);
        chain.norm("conv_blocks2.5", channels, EPS, false)?;
        let stage = chain.stage(Some(embedding), [sizes.latent, 1, 1], sizes.classes);
        Ok(Self {
            sizes,
            stages: vec![stage],
            crop: sizes.crop()?,
            scale: InputScale::default(),
        })
    }

    /// The generator for images of ImageNet, with PyTorch's default start.
    ///
    /// # Errors
    /// [`Error::ImageSize`] for images without pixels.
    pub fn imagenet(sizes: Sizes, random: &mut Random) -> Result<Self> {
        let channels = sizes.image[0];
        let small = sizes.small()?;
        let [_, rows, columns] = small;
        let middle = [WIDE, rows * 2, columns * 2];
        let conditional = |norm: &str, channels| conditional_affine(norm, sizes.classes, channels);

        let mut first = Chain::new();
        first.linear("l1.0", [small.iter().product(), sizes.latent], random)?;
        first.plain(Op::Reshape { shape: small });
        first.norm("conv_blocks0_0", WIDE, EPS, false)?;

        let mut second = Chain::new();
        second.plain(Op::Upsample { factor: 2 });
        second.conv("conv_blocks1_0", [WIDE, WIDE], random)?;
        second.norm("conv_blocks1_1", WIDE, LARGE_EPS, false)?;

        let mut third = Chain::new();
        third.plain(Op::LeakyRelu { slope: SLOPE });
        third.plain(Op::Upsample { factor: 2 });
        third.conv("conv_blocks2_0", [NARROW, WIDE], random)?;
        third.norm("conv_blocks2_1", NARROW, LARGE_EPS, false)?;

        let mut fourth = Chain::new();
        fourth.plain(Op::LeakyRelu { slope: SLOPE });
        fourth.conv("conv_blocks2_3", [channels, NARROW], random)?;
        fourth.plain(Op::Tanh);
        fourth.norm("conv_blocks2_5", channels, EPS, false)?;

        let after = |norm: &str, channels| conditional(norm, channels).map(Some);
        let stages = vec![
            first.stage(None, [sizes.latent, 1, 1], sizes.classes),
            second.stage(after("conv_blocks0_0", WIDE)?, small, sizes.classes),
            third.stage(after("conv_blocks1_1", WIDE)?, middle, sizes.classes),
            fourth.stage(
                after("conv_blocks2_1", NARROW)?,
                [NARROW, rows * SCALE, columns * SCALE],
                sizes.classes,
            ),
        ];
        Ok(Self {
            sizes,
            stages,
            crop: sizes.crop()?,
            scale: InputScale::default(),
        })
    }
}

/// The affine part of class-conditional batch normalisation, at its start of 1 and 0.
fn conditional_affine(norm: &str, classes: usize, channels: usize) -> Result<Modulation> {
    let factor = Tensor::ones((classes, channels), DType::F32, &Device::Cpu)?;
    Ok(Modulation {
        names: ["weights", "biases"].map(|part| format!("{norm}.{part}.weight")),
        summand: Some(factor.zeros_like()?),
        factor,
    })
}
