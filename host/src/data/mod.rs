//! Labelled images, from files or made on the spot.

mod cifar;
mod idx;
pub mod shapes;

use std::path::PathBuf;
use std::str::FromStr;

/// Images of one size with their classes, held in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// What the user calls it, e.g. `cifar10:test.bin`.
    pub name: String,
    /// Height, width and channels.
    pub shape: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// Image after image, row major, channels last, one byte each.
    pub pixels: Vec<u8>,
    /// One class per image.
    pub labels: Vec<u16>,
}

impl Dataset {
    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Pixels of image `index`, height x width x channels.
    #[must_use]
    pub fn image(&self, index: usize) -> &[u8] {
        let bytes = self.shape.iter().product::<usize>();
        &self.pixels[index * bytes..][..bytes]
    }

    /// The first `count` images, or all if there are fewer.
    #[must_use]
    pub fn take(mut self, count: usize) -> Self {
        let count = count.min(self.len());
        self.pixels
            .truncate(count * self.shape.iter().product::<usize>());
        self.labels.truncate(count);
        self
    }
}

/// Where a data set comes from, as written on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `cifar10:PATH`, the binary format: one label byte and three planes of 32 x 32 per record.
    Cifar10(PathBuf),
    /// `cifar100:PATH`, the binary format, with or without the coarse label.
    Cifar100(PathBuf),
    /// `idx:IMAGES,LABELS`, the format of MNIST.
    Idx {
        /// File of images.
        images: PathBuf,
        /// File of labels.
        labels: PathBuf,
    },
    /// `shapes`: the built-in images, the part that nothing is trained on.
    Shapes,
    /// `shapes:train`: the built-in images that the demo's network is trained on.
    ShapesTrain,
}

/// Why a data set cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a data set's name.
    #[error(
        "unknown data set `{0}`; expected `cifar10:PATH`, `cifar100:PATH`, `idx:IMAGES,LABELS`, \
         `shapes` or `shapes:train`"
    )]
    UnknownSource(String),
    /// The file cannot be read; the message names it.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Not a whole number of records.
    #[error(
        "`{path}` has {bytes} bytes, which is not a whole number of records of {record} bytes; \
         the file is truncated or not in the binary format of {format}"
    )]
    Size {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: usize,
        /// Bytes per record.
        record: String,
        /// Name of the format.
        format: &'static str,
    },
    /// A label outside the classes.
    #[error("`{path}`: record {record} at offset {offset} has label {label}; expected 0 to {last}")]
    Label {
        /// The file.
        path: PathBuf,
        /// Index of the record.
        record: usize,
        /// Byte offset of the label.
        offset: usize,
        /// What is there.
        label: u8,
        /// Largest label allowed.
        last: usize,
    },
    /// An IDX header that does not fit.
    #[error("`{path}` at offset {offset}: {expected} expected, found {found}")]
    Idx {
        /// The file.
        path: PathBuf,
        /// Byte offset.
        offset: usize,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let unknown = || Error::UnknownSource(text.to_owned());
        match text.split_once(':') {
            None if text == "shapes" => Ok(Self::Shapes),
            Some(("shapes", "train")) => Ok(Self::ShapesTrain),
            Some(("cifar10", path)) if !path.is_empty() => Ok(Self::Cifar10(path.into())),
            Some(("cifar100", path)) if !path.is_empty() => Ok(Self::Cifar100(path.into())),
            Some(("idx", paths)) => match paths.split_once(',') {
                Some((images, labels)) if !images.is_empty() && !labels.is_empty() => {
                    Ok(Self::Idx {
                        images: images.into(),
                        labels: labels.into(),
                    })
                }
                _ => Err(unknown()),
            },
            _ => Err(unknown()),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cifar10(path) => write!(f, "cifar10:{}", path.display()),
            Self::Cifar100(path) => write!(f, "cifar100:{}", path.display()),
            Self::Idx { images, labels } => {
                write!(f, "idx:{},{}", images.display(), labels.display())
            }
            Self::Shapes => f.write_str("shapes"),
            Self::ShapesTrain => f.write_str("shapes:train"),
        }
    }
}

impl Source {
    /// Reads or makes the images.
    ///
    /// # Errors
    /// When a file cannot be read or is not in the format that the source's name promises.
    pub fn load(&self) -> Result<Dataset, Error> {
        let dataset = match self {
            Self::Cifar10(path) => cifar::load(path, &cifar::CIFAR10)?,
            Self::Cifar100(path) => cifar::load(path, &cifar::CIFAR100)?,
            Self::Idx { images, labels } => idx::load(images, labels)?,
            Self::Shapes => shapes::generate(shapes::Split::Test, shapes::TEST_IMAGES),
            Self::ShapesTrain => shapes::generate(shapes::Split::Train, shapes::TRAIN_IMAGES),
        };
        Ok(Dataset {
            name: self.to_string(),
            ..dataset
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_printed_alike() {
        for text in [
            "cifar10:a/b.bin",
            "cifar100:c:d.bin",
            "idx:x,y",
            "shapes",
            "shapes:train",
        ] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_names_are_refused_with_the_list_of_known_ones() {
        for text in [
            "", "cifar10", "cifar10:", "idx:x", "idx:,y", "shapes:x", "mnist:x",
        ] {
            let message = text.parse::<Source>().unwrap_err().to_string();
            assert!(message.contains("cifar100:PATH"), "{message}");
        }
    }
}
