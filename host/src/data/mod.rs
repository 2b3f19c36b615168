//! Labelled images, from files or made on the spot.

mod archive;
mod cifar;
mod classes;
pub mod decode;
mod folders;
mod idx;
mod keywords;
mod npy;
mod python;
pub mod shapes;
mod sounds;

pub use archive::write_archive;

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

    /// Pixels of all images.
    #[must_use]
    pub fn images(&self) -> Vec<&[u8]> {
        (0..self.len()).map(|index| self.image(index)).collect()
    }

    /// The images from `first` on, as many as there are up to `count`.
    #[must_use]
    pub fn part(&self, first: usize, count: usize) -> Self {
        let first = first.min(self.len());
        let count = count.min(self.len() - first);
        let bytes = self.shape.iter().product::<usize>();
        Self {
            name: self.name.clone(),
            pixels: self.pixels[first * bytes..][..count * bytes].to_vec(),
            labels: self.labels[first..][..count].to_vec(),
            ..*self
        }
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
    /// `cifar10:PATH`, the binary format (one label byte and three planes of 32 x 32 per record) or
    /// a batch of the Python archive.
    Cifar10(PathBuf),
    /// `cifar100:PATH`, the binary format, with or without the coarse label, or a batch of the
    /// Python archive.
    Cifar100(PathBuf),
    /// `idx:IMAGES,LABELS`, the format of MNIST.
    Idx {
        /// File of images.
        images: PathBuf,
        /// File of labels.
        labels: PathBuf,
    },
    /// `images:FOLDER` or `images:FOLDER,SIDE`: a folder of PNG or JPEG images per class, scaled and
    /// cropped as for ImageNet.
    Images {
        /// Folder of the classes' folders.
        folder: PathBuf,
        /// Rows and columns.
        side: u32,
    },
    /// `npy:IMAGES,LABELS`, two arrays of numpy.
    Npy {
        /// File of images.
        images: PathBuf,
        /// File of labels.
        labels: PathBuf,
    },
    /// `npz:PATH`, an archive of numpy.
    Npz(PathBuf),
    /// `kws01:PATH`, the keyword samples of MLPerf Tiny: one label byte and 49 frames of 10 signed
    /// bytes per record.
    Kws01(PathBuf),
    /// `wav:FOLDER`: a folder of WAV files per class, 16 kHz, as features of the same kind.
    Wav(PathBuf),
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
         `images:FOLDER[,SIDE]`, `npy:IMAGES,LABELS`, `npz:PATH`, `kws01:PATH`, `wav:FOLDER`, \
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
    /// A Python archive that is not CIFAR's.
    #[error("`{path}` is no batch of CIFAR's Python archive: {what}")]
    Python {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A file of numpy that holds no labelled images.
    #[error("`{path}`: {what}")]
    Numpy {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// An image that cannot be read.
    #[error("`{path}` is no readable image: {what}")]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A folder of no use.
    #[error("`{0}` has no folders with PNG or JPEG images, one folder for each class")]
    NoImages(PathBuf),
    /// A sound that cannot be used.
    #[error("`{path}`: {what}")]
    Sound {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// A folder without sounds.
    #[error("`{0}` has no folders with WAV files, one folder for each class")]
    NoSounds(PathBuf),
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
            Some(("npy", paths)) => match paths.split_once(',') {
                Some((images, labels)) if !images.is_empty() && !labels.is_empty() => {
                    Ok(Self::Npy {
                        images: images.into(),
                        labels: labels.into(),
                    })
                }
                _ => Err(unknown()),
            },
            Some(("npz", path)) if !path.is_empty() => Ok(Self::Npz(path.into())),
            Some(("images", place)) if !place.is_empty() => Ok(folder_and_side(place)),
            Some(("kws01", path)) if !path.is_empty() => Ok(Self::Kws01(path.into())),
            Some(("wav", path)) if !path.is_empty() => Ok(Self::Wav(path.into())),
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

/// A number behind the last comma is the side of the images.
fn folder_and_side(place: &str) -> Source {
    let split = place.rsplit_once(',').and_then(|(folder, side)| {
        let side = side.parse().ok().filter(|side| (1..=4096).contains(side));
        Some((folder, side?))
    });
    let (folder, side) = split.unwrap_or((place, folders::DEFAULT_SIDE));
    Source::Images {
        folder: folder.into(),
        side,
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
            Self::Images { folder, side } => write!(f, "images:{},{side}", folder.display()),
            Self::Npy { images, labels } => {
                write!(f, "npy:{},{}", images.display(), labels.display())
            }
            Self::Npz(path) => write!(f, "npz:{}", path.display()),
            Self::Kws01(path) => write!(f, "kws01:{}", path.display()),
            Self::Wav(path) => write!(f, "wav:{}", path.display()),
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
        self.load_first(None)
    }

    /// [`load`](Self::load) of the first `limit` images, or of all.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_first(&self, limit: Option<usize>) -> Result<Dataset, Error> {
        let dataset = match self {
            Self::Cifar10(path) => cifar::load(path, &cifar::CIFAR10)?,
            Self::Cifar100(path) => cifar::load(path, &cifar::CIFAR100)?,
            Self::Idx { images, labels } => idx::load(images, labels)?,
            Self::Images { folder, side } => folders::load(folder, *side, limit)?,
            Self::Npy { images, labels } => npy::load_pair(images, labels)?,
            Self::Npz(path) => npy::load_archive(path)?,
            Self::Kws01(path) => keywords::load(path)?,
            Self::Wav(folder) => sounds::load(folder, limit)?,
            Self::Shapes => shapes::generate(shapes::Split::Test, shapes::TEST_IMAGES),
            Self::ShapesTrain => shapes::generate(shapes::Split::Train, shapes::TRAIN_IMAGES),
        };
        let dataset = Dataset {
            name: self.to_string(),
            ..dataset
        };
        Ok(match limit {
            Some(limit) => dataset.take(limit),
            None => dataset,
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
            "kws01:k",
            "wav:w",
            "images:val,96",
            "npy:x,y",
            "npz:a",
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
