//! Named settings: the rows of the paper's table, one for the built-in images, and one that is better
//! than the paper.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Bits, Config};
use crate::dfq::{Error, Method, Result, refinement::Settings as Refinement};

/// Named settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// The paper's for CIFAR-10 and ResNet-20.
    #[default]
    Cifar10,
    /// The paper's for CIFAR-100 and ResNet-20, the same.
    Cifar100,
    /// The paper's for ImageNet and ResNet-18.
    ImagenetResnet18,
    /// The paper's for ImageNet and MobileNetV2.
    ImagenetMobilenetv2,
    /// The paper's for ImageNet and ResNet-50.
    ImagenetResnet50,
    /// For the built-in data set: few epochs.
    Shapes,
    /// For CIFAR-10 and CIFAR-100: a short game and a refinement of the student.
    Best,
}

/// The widths that the paper has settings for; wider networks take those of 5 bits, narrower ones
/// those of 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Three,
    Four,
    Five,
}

impl Width {
    fn of(bits: Bits) -> Self {
        match bits.weights.min(bits.activations) {
            ..=3 => Self::Three,
            4 => Self::Four,
            _ => Self::Five,
        }
    }
}

impl Preset {
    /// Every preset.
    pub const ALL: [Self; 7] = [
        Self::Cifar10,
        Self::Cifar100,
        Self::ImagenetResnet18,
        Self::ImagenetMobilenetv2,
        Self::ImagenetResnet50,
        Self::Shapes,
        Self::Best,
    ];

    /// What the user calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::ImagenetResnet18 => "imagenet-resnet18",
            Self::ImagenetMobilenetv2 => "imagenet-mobilenetv2",
            Self::ImagenetResnet50 => "imagenet-resnet50",
            Self::Shapes => "shapes",
            Self::Best => "best",
        }
    }

    /// Whether it is for ImageNet, where every class has BatchNorm weights of its own in the
    /// generator.
    #[must_use]
    pub const fn is_imagenet(self) -> bool {
        matches!(
            self,
            Self::ImagenetResnet18 | Self::ImagenetMobilenetv2 | Self::ImagenetResnet50
        )
    }

    /// Name of the normalisation that networks of this preset were usually trained with.
    #[must_use]
    pub const fn normalization(self) -> &'static str {
        match self {
            Self::Cifar10 | Self::Best => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::Shapes => "none",
            _ => "imagenet",
        }
    }

    /// Its settings for AdaDFQ: those of `w3a3` for `shapes`, of `w4a4` for the others.
    #[must_use]
    pub fn config(self) -> Config {
        let width = if self == Self::Shapes { 3 } else { 4 };
        let bits = Bits {
            weights: width,
            activations: width,
        };
        self.config_for(Method::Adadfq, bits)
    }

    /// Its settings for `method` at these widths; a method may bring some of its own.
    #[must_use]
    pub fn config_for(self, method: Method, bits: Bits) -> Config {
        let start = Config {
            preset: self,
            bits: bits.into(),
            ..Config::default()
        };
        let mut config = method.settings(self.schedule(Width::of(bits), start));
        if !method.trains() {
            config.refinement.epochs = 0;
        }
        match (self, method) {
            (Self::Cifar10 | Self::Cifar100, Method::Gdfq) => Config {
                batch: 200,
                ..config
            },
            (_, Method::Gdfq) if self.is_imagenet() => Config {
                student_learning_rate: 1e-6,
                ..config
            },
            _ => config,
        }
    }

    /// What differs from CIFAR's settings, those of [`Config::default`].
    fn schedule(self, width: Width, config: Config) -> Config {
        let imagenet = Config {
            temperature: 5.0,
            warmup_epochs: 50,
            learning_rate_steps: vec![350, 400],
            student_learning_rate: 1e-5,
            ..config.clone()
        };
        match self {
            Self::Cifar10 | Self::Cifar100 => config,
            Self::ImagenetResnet18 => Config {
                alpha_ds: if width == Width::Five { 0.3 } else { 0.2 },
                lambda_l: if width == Width::Three { 0.1 } else { 0.3 },
                ..imagenet
            },
            Self::ImagenetMobilenetv2 => Config {
                alpha_ds: if width == Width::Four { 0.3 } else { 0.2 },
                ..imagenet
            },
            Self::ImagenetResnet50 => Config {
                student_learning_rate: 1e-4,
                learning_rate_steps: match width {
                    Width::Three => vec![150, 300, 400],
                    Width::Four => vec![200, 300, 400],
                    Width::Five => vec![350, 400],
                },
                warmup_epochs: if width == Width::Three { 100 } else { 50 },
                alpha_ds: if width == Width::Four { 0.1 } else { 0.2 },
                lambda_l: if width == Width::Three { 0.4 } else { 0.3 },
                ..imagenet
            },
            Self::Best => Config {
                epochs: 20,
                iterations: 50,
                refinement: Refinement {
                    epochs: 20,
                    ..Refinement::default()
                },
                ..config
            },
            Self::Shapes => Config {
                epochs: 20,
                iterations: 50,
                learning_rate_steps: vec![14],
                ..config
            },
        }
    }
}

impl FromStr for Preset {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|preset| preset.name() == text)
            .ok_or_else(|| Error::Preset {
                name: text.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(preset: Preset, bits: &str) -> Config {
        preset.config_for(Method::Adadfq, bits.parse().unwrap())
    }

    #[test]
    fn every_preset_is_valid_and_survives_toml() {
        for preset in Preset::ALL {
            for method in Method::ALL {
                let config = preset.config_for(method, preset.config().bits.most);
                config.check().unwrap();
                let text = toml::to_string(&config).unwrap();
                assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
                assert_eq!((config.preset, config.method), (preset, method));
            }
            assert_eq!(preset.name().parse::<Preset>().unwrap(), preset);
        }
        assert_eq!(Preset::Cifar10.config(), Config::default());
    }

    #[test]
    fn cifar_is_the_papers_row_at_every_width() {
        for bits in ["w3a3", "w4a4", "w5a5"] {
            let config = at(Preset::Cifar100, bits);
            assert_eq!(config.student_learning_rate, 1e-4);
            assert_eq!(config.learning_rate_steps, [100, 200, 300]);
            assert_eq!((config.warmup_epochs, config.temperature), (4, 20.0));
            assert_eq!((config.alpha_ds, config.lambda_l), (0.2, 0.1));
            assert_eq!((config.alpha_as, config.lambda_u), (0.1, 0.8));
            assert_eq!((config.batch, config.latent), (16, 100));
            assert_eq!((config.epochs, config.iterations), (400, 200));
        }
    }

    #[test]
    fn imagenet_rows_depend_on_the_width() {
        type Row = (f64, &'static [usize], usize, f64, f64);
        let rows: [(Preset, &str, Row); 10] = [
            (
                Preset::ImagenetResnet18,
                "w3a3",
                (1e-5, &[350, 400], 50, 0.2, 0.1),
            ),
            (
                Preset::ImagenetResnet18,
                "w4a4",
                (1e-5, &[350, 400], 50, 0.2, 0.3),
            ),
            (
                Preset::ImagenetResnet18,
                "w5a5",
                (1e-5, &[350, 400], 50, 0.3, 0.3),
            ),
            (
                Preset::ImagenetMobilenetv2,
                "w3a3",
                (1e-5, &[350, 400], 50, 0.2, 0.1),
            ),
            (
                Preset::ImagenetMobilenetv2,
                "w4a4",
                (1e-5, &[350, 400], 50, 0.3, 0.1),
            ),
            (
                Preset::ImagenetMobilenetv2,
                "w5a5",
                (1e-5, &[350, 400], 50, 0.2, 0.1),
            ),
            (
                Preset::ImagenetResnet50,
                "w3a3",
                (1e-4, &[150, 300, 400], 100, 0.2, 0.4),
            ),
            (
                Preset::ImagenetResnet50,
                "w4a4",
                (1e-4, &[200, 300, 400], 50, 0.1, 0.3),
            ),
            (
                Preset::ImagenetResnet50,
                "w5a5",
                (1e-4, &[350, 400], 50, 0.2, 0.3),
            ),
            // The narrower of the two widths decides.
            (
                Preset::ImagenetResnet50,
                "w8a4",
                (1e-4, &[200, 300, 400], 50, 0.1, 0.3),
            ),
        ];
        for (preset, bits, (rate, steps, warmup, alpha_ds, lambda_l)) in rows {
            let config = at(preset, bits);
            let case = format!("{} {bits}", preset.name());
            assert_eq!(config.student_learning_rate, rate, "{case}");
            assert_eq!(config.learning_rate_steps, steps, "{case}");
            assert_eq!(config.warmup_epochs, warmup, "{case}");
            assert_eq!(config.alpha_ds, alpha_ds, "{case}");
            assert_eq!(config.lambda_l, lambda_l, "{case}");
            assert_eq!((config.temperature, config.batch), (5.0, 16), "{case}");
        }
    }

    #[test]
    fn gdfq_brings_the_settings_of_its_paper() {
        let bits = Config::default().bits.most;
        let config = Preset::Cifar10.config_for(Method::Gdfq, bits);
        assert_eq!((config.batch, config.gamma, config.alpha), (200, 0.1, 1.0));
        let config = Preset::ImagenetResnet18.config_for(Method::Gdfq, bits);
        assert_eq!((config.batch, config.student_learning_rate), (16, 1e-6));
        assert_eq!(
            Preset::Shapes.config_for(Method::Gdfq, bits).batch,
            Preset::Shapes.config().batch
        );
    }
}
