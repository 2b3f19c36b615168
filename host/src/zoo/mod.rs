//! Networks by name.

mod builder;
mod keras;
mod mobilenet;
mod naming;
mod random;
mod resnet;
#[cfg(test)]
mod tests;
mod vgg;

use candle_core::{DType, Device, Tensor};

use crate::graph::{Graph, Normalization, Placement};

pub use random::RandomParameters;
use resnet::Residual;

/// Where a network's parameters come from.
pub trait Parameters {
    /// Whether there is a parameter called `name`.
    fn contains(&self, name: &str) -> bool;

    /// Parameter `name`, of exactly this shape.
    ///
    /// # Errors
    /// If it cannot be had.
    fn get(&mut self, name: &str, shape: &[usize]) -> candle_core::Result<Tensor>;
}

/// A network that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is.
    pub description: &'static str,
    /// Channels, height and width of its input.
    pub input_shape: [usize; 3],
    architecture: Architecture,
    pixels: Pixels,
}

/// Which code builds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Architecture {
    Residual(Residual),
    MobileNetV2,
    Vgg,
    KerasResnet8,
    DsCnn,
    MobileNetV1,
    Autoencoder,
}

/// How pixels become the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pixels {
    /// Checkpoints differ.
    Unknown,
    /// As a normalisation of this name.
    Named(&'static str),
    /// From 0 to 255, as they are.
    Raw,
    /// Signed bytes, which data sets hold plus 128: `(byte - 83) * 0.5847029`.
    KeywordSpectra,
}

/// Zero of the keyword spectra's bytes, plus 128, and their unit.
const KEYWORD_ZERO: f64 = 83.0 + 128.0;
const KEYWORD_UNIT: f64 = 0.584_702_9;

const fn entry(
    name: &'static str,
    description: &'static str,
    input_shape: [usize; 3],
    architecture: Architecture,
    pixels: Pixels,
) -> Network {
    Network {
        name,
        description,
        input_shape,
        architecture,
        pixels,
    }
}

const fn cifar_resnet(name: &'static str, description: &'static str, blocks: usize) -> Network {
    let architecture = Architecture::Residual(Residual::cifar(blocks));
    entry(
        name,
        description,
        [3, 32, 32],
        architecture,
        Pixels::Unknown,
    )
}

const NETWORKS: [Network; 15] = [
    cifar_resnet("resnet8", "CIFAR ResNet with 8 layers", 1),
    cifar_resnet("resnet14", "CIFAR ResNet with 14 layers", 2),
    cifar_resnet("resnet20", "CIFAR ResNet with 20 layers", 3),
    cifar_resnet("resnet32", "CIFAR ResNet with 32 layers", 5),
    cifar_resnet("resnet44", "CIFAR ResNet with 44 layers", 7),
    cifar_resnet("resnet56", "CIFAR ResNet with 56 layers", 9),
    entry(
        "cifar100_resnet20_wide_stem",
        "20 layers, the first of 64 channels, sums without ReLU",
        [3, 32, 32],
        Architecture::Residual(Residual::WIDE_STEM),
        Pixels::Named("0.507,0.487,0.441/0.267,0.256,0.276"),
    ),
    entry(
        "vgg16",
        "VGG-16 for CIFAR, with BatchNorm",
        [3, 32, 32],
        Architecture::Vgg,
        Pixels::Unknown,
    ),
    entry(
        "resnet18",
        "ImageNet ResNet with 18 layers",
        [3, 224, 224],
        Architecture::Residual(Residual::RESNET18),
        Pixels::Named("imagenet"),
    ),
    entry(
        "resnet50",
        "ImageNet ResNet with 50 layers, bottlenecks",
        [3, 224, 224],
        Architecture::Residual(Residual::RESNET50),
        Pixels::Named("imagenet"),
    ),
    entry(
        "mobilenetv2",
        "MobileNetV2 for ImageNet",
        [3, 224, 224],
        Architecture::MobileNetV2,
        Pixels::Named("imagenet"),
    ),
    entry(
        "mlperf_tiny_resnet8",
        "MLPerf Tiny: image classification",
        [3, 32, 32],
        Architecture::KerasResnet8,
        Pixels::Raw,
    ),
    entry(
        "mlperf_tiny_kws_dscnn",
        "MLPerf Tiny: keyword spotting",
        [1, 49, 10],
        Architecture::DsCnn,
        Pixels::KeywordSpectra,
    ),
    entry(
        "mlperf_tiny_vww_mobilenetv1_025",
        "MLPerf Tiny: person detection, MobileNetV1 x 0.25",
        [3, 96, 96],
        Architecture::MobileNetV1,
        Pixels::Named("none"),
    ),
    entry(
        "mlperf_tiny_ad_autoencoder",
        "MLPerf Tiny: anomaly detection by reconstruction",
        [640, 1, 1],
        Architecture::Autoencoder,
        Pixels::Unknown,
    ),
];

/// A name that no network has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown network `{name}`; the networks are {}", names())]
pub struct UnknownNetwork {
    name: String,
}

/// All networks.
#[must_use]
pub fn networks() -> &'static [Network] {
    &NETWORKS
}

/// The network called `name`.
///
/// # Errors
/// If there is none; the message lists those that there are.
pub fn network(name: &str) -> Result<&'static Network, UnknownNetwork> {
    let found = NETWORKS.iter().find(|network| network.name == name);
    found.ok_or_else(|| UnknownNetwork {
        name: name.to_owned(),
    })
}

impl Network {
    /// How pixels become its input, where all of its checkpoints agree on that.
    #[must_use]
    pub fn normalization(&self) -> Option<Normalization> {
        let raw = |mean: f64, unit: f64| Normalization {
            mean: vec![mean / 255.0; self.input_shape[0]],
            std: vec![1.0 / (255.0 * unit); self.input_shape[0]],
        };
        match self.pixels {
            Pixels::Unknown => None,
            Pixels::Named(name) => name.parse().ok(),
            Pixels::Raw => Some(raw(0.0, 1.0)),
            Pixels::KeywordSpectra => Some(raw(KEYWORD_ZERO, KEYWORD_UNIT)),
        }
    }

    /// Number of classes that it was published with.
    #[must_use]
    pub fn usual_classes(&self) -> usize {
        match self.architecture {
            Architecture::Autoencoder => self.input_shape[0],
            Architecture::DsCnn => 12,
            Architecture::MobileNetV1 => 2,
            Architecture::Residual(Residual::WIDE_STEM) => 100,
            _ if self.input_shape[1] == 224 => 1000,
            _ => 10,
        }
    }

    /// Builds the graph. Which kind of shortcuts it has and how its parameters are called is
    /// decided by what `parameters` contains; see [`classifier_weight`](Self::classifier_weight)
    /// for the number of classes.
    ///
    /// # Errors
    /// Those of `parameters`.
    pub fn build(
        &self,
        parameters: &mut dyn Parameters,
        classes: usize,
        normalization: Normalization,
    ) -> candle_core::Result<Graph> {
        let nodes = match self.architecture {
            Architecture::Residual(residual) => residual.nodes(parameters, classes)?,
            Architecture::MobileNetV2 => mobilenet::nodes(parameters, classes)?,
            Architecture::Vgg => vgg::nodes(parameters, classes)?,
            Architecture::KerasResnet8 => keras::resnet8(parameters, classes)?,
            Architecture::DsCnn => keras::ds_cnn(parameters, classes)?,
            Architecture::MobileNetV1 => keras::mobilenet_v1(parameters, classes)?,
            Architecture::Autoencoder => keras::autoencoder(parameters, classes)?,
        };
        Ok(Graph {
            name: self.name.to_owned(),
            input_shape: self.input_shape,
            normalization,
            classes,
            nodes,
            placement: Placement::default(),
        })
    }

    /// The network with its usual number of classes and all parameters 0, which takes no time to
    /// make.
    ///
    /// # Errors
    /// If memory is short.
    pub fn outline(&self) -> candle_core::Result<Graph> {
        let [channels, ..] = self.input_shape;
        let normalization = Normalization::identity(channels);
        self.build(&mut Zeros, self.usual_classes(), normalization)
    }

    /// Name of the classifier's weight, `[classes, features]`.
    #[must_use]
    pub fn classifier_weight(&self, parameters: &dyn Parameters) -> String {
        let layer = match self.architecture {
            Architecture::Residual(_) => naming::Naming::detect(parameters).classifier(),
            Architecture::MobileNetV2 => mobilenet::classifier(parameters),
            Architecture::Vgg => vgg::CLASSIFIER,
            Architecture::Autoencoder => "dense_9",
            Architecture::KerasResnet8 | Architecture::DsCnn | Architecture::MobileNetV1 => "dense",
        };
        format!("{layer}.weight")
    }
}

/// Parameters of the right shapes.
struct Zeros;

impl Parameters for Zeros {
    fn contains(&self, _: &str) -> bool {
        false
    }

    fn get(&mut self, _: &str, shape: &[usize]) -> candle_core::Result<Tensor> {
        Tensor::zeros(shape, DType::F32, &Device::Cpu)
    }
}

fn names() -> String {
    NETWORKS.map(|network| network.name).join(", ")
}
