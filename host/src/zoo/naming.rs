//! How checkpoints call the layers of a residual network.

use super::Parameters;

/// Names of a convolution and of the BatchNorm behind it.
pub(super) struct ConvNames {
    pub(super) conv: String,
    pub(super) norm: String,
}

impl ConvNames {
    /// Two names with the same beginning.
    pub(super) fn new(prefix: &str, conv: &str, norm: &str) -> Self {
        Self {
            conv: format!("{prefix}{conv}"),
            norm: format!("{prefix}{norm}"),
        }
    }
}

/// A scheme of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// `layer1.0.conv1`, `layer1.0.bn1`, with the names of the shortcut and of the classifier.
    Layers {
        shortcut: &'static str,
        classifier: &'static str,
    },
    /// `features.stage1.unit1.body.conv1.conv`, as the package pytorchcv has it.
    Stages,
    /// The same for ImageNet, whose first layer is called `features.init_block.conv.conv`.
    DeepStages,
    /// The same with numbers, counted from 0 after the first layer: `features.1.0.body.conv1.conv`.
    Numbers,
}

impl Naming {
    /// The scheme that `parameters` follow, judged by the first layer.
    pub(super) fn detect(parameters: &dyn Parameters) -> Self {
        let first_of = |names: [&'static str; 2], probe: fn(&str) -> String| {
            let found = names
                .into_iter()
                .find(|name| parameters.contains(&probe(name)));
            found.unwrap_or(names[0])
        };
        if parameters.contains("features.init_block.conv.conv.weight") {
            Self::DeepStages
        } else if parameters.contains("features.init_block.conv.weight") {
            Self::Stages
        } else if parameters.contains("features.0.conv.weight") {
            Self::Numbers
        } else {
            Self::Layers {
                shortcut: first_of(["shortcut", "downsample"], |name| {
                    format!("layer2.0.{name}.0.weight")
                }),
                classifier: first_of(["linear", "fc"], |name| format!("{name}.weight")),
            }
        }
    }

    pub(super) fn stem(self) -> ConvNames {
        match self {
            Self::Layers { .. } => ConvNames::new("", "conv1", "bn1"),
            Self::Stages => ConvNames::new("features.init_block.", "conv", "bn"),
            Self::DeepStages => ConvNames::new("features.init_block.conv.", "conv", "bn"),
            Self::Numbers => ConvNames::new("features.0.", "conv", "bn"),
        }
    }

    /// What all names of a block start with; `stage` and `block` count from 0.
    pub(super) fn block(self, stage: usize, block: usize) -> String {
        match self {
            Self::Layers { .. } => format!("layer{}.{block}.", stage + 1),
            Self::Stages | Self::DeepStages => {
                format!("features.stage{}.unit{}.", stage + 1, block + 1)
            }
            Self::Numbers => format!("features.{}.{block}.", stage + 1),
        }
    }

    /// Convolution of a block, counted from 1.
    pub(super) fn body(self, block: &str, number: usize) -> ConvNames {
        match self {
            Self::Layers { .. } => {
                ConvNames::new(block, &format!("conv{number}"), &format!("bn{number}"))
            }
            Self::Stages | Self::DeepStages | Self::Numbers => {
                ConvNames::new(&format!("{block}body.conv{number}."), "conv", "bn")
            }
        }
    }

    /// The convolution of a projection shortcut.
    pub(super) fn projection(self, block: &str) -> ConvNames {
        match self {
            Self::Layers { shortcut, .. } => {
                ConvNames::new(&format!("{block}{shortcut}."), "0", "1")
            }
            Self::Stages | Self::DeepStages | Self::Numbers => {
                ConvNames::new(&format!("{block}identity_conv."), "conv", "bn")
            }
        }
    }

    pub(super) fn classifier(self) -> &'static str {
        match self {
            Self::Layers { classifier, .. } => classifier,
            Self::Stages | Self::DeepStages | Self::Numbers => "output",
        }
    }
}
